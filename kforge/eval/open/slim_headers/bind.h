// Python bindings without pybind11: a tenth of its compile time for functions of tensors, numbers and lists of
// them. A type it does not know is a compile error, and kforge then builds with torch's full headers.
#pragma once

#include <Python.h>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "kforge/torch_python.h"  // generated: what this torch's python_variable.h declares

namespace kforge_bind {

struct WrongArgument {};  // a Python error is not set yet: becomes TypeError
struct PythonError {};    // a Python error is set

template <class> inline constexpr bool unknown_type = false;

template <class T, class = void> struct From {
  static_assert(unknown_type<T>, "kforge's slim binding does not know this argument type");
};

template <> struct From<at::Tensor> {
  static at::Tensor get(PyObject* object) {
    const int is = PyObject_IsInstance(object, THPVariableClass);
    if (is < 0) throw PythonError{};
    if (!is) throw WrongArgument{};
    return unpack(object);
  }
};

template <class T> struct From<T, std::enable_if_t<std::is_same_v<T, bool>>> {
  static bool get(PyObject* object) {
    if (object == Py_None) return false;
    const int truth = PyObject_IsTrue(object);
    if (truth < 0) throw PythonError{};
    return truth != 0;
  }
};

template <class T> struct From<T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>> {
  static T get(PyObject* object) {
    if (PyFloat_Check(object)) throw WrongArgument{};
    PyObject* number = PyNumber_Index(object);
    if (number == nullptr) {
      PyErr_Clear();
      throw WrongArgument{};
    }
    const long long value = PyLong_AsLongLong(number);
    Py_DECREF(number);
    if (value == -1 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      throw WrongArgument{};
    }
    if constexpr (std::is_unsigned_v<T>) {
      if (value < 0 || static_cast<unsigned long long>(value) > std::numeric_limits<T>::max()) throw WrongArgument{};
    } else {
      if (value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max()) throw WrongArgument{};
    }
    return static_cast<T>(value);
  }
};

template <class T> struct From<T, std::enable_if_t<std::is_floating_point_v<T>>> {
  static T get(PyObject* object) {
    const double value = PyFloat_AsDouble(object);
    if (value == -1.0 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      throw WrongArgument{};
    }
    return static_cast<T>(value);
  }
};

template <> struct From<std::string> {
  static std::string get(PyObject* object) {
    Py_ssize_t length = 0;
    const char* text = PyUnicode_Check(object) ? PyUnicode_AsUTF8AndSize(object, &length) : nullptr;
    if (text == nullptr) throw WrongArgument{};
    return std::string(text, static_cast<size_t>(length));
  }
};

template <class T> struct From<std::optional<T>> {
  static std::optional<T> get(PyObject* object) {
    if (object == Py_None) return std::nullopt;
    return From<T>::get(object);
  }
};

template <class T> struct From<std::vector<T>> {
  static std::vector<T> get(PyObject* object) {
    if (PyUnicode_Check(object)) throw WrongArgument{};
    PyObject* items = PySequence_Fast(object, "");
    if (items == nullptr) {
      PyErr_Clear();
      throw WrongArgument{};
    }
    std::vector<T> values;
    try {
      for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); ++i)
        values.push_back(From<T>::get(PySequence_Fast_GET_ITEM(items, i)));
    } catch (...) {
      Py_DECREF(items);
      throw;
    }
    Py_DECREF(items);
    return values;
  }
};

// What holds an argument while the function runs: views need something to look at.
template <class T> struct Held { using type = T; };
template <> struct Held<at::IntArrayRef> { using type = std::vector<int64_t>; };
template <> struct Held<at::TensorList> { using type = std::vector<at::Tensor>; };
template <class T> using Held_t = typename Held<std::remove_cv_t<std::remove_reference_t<T>>>::type;

template <class T> PyObject* to_python(const T& value);

template <class Tuple, size_t... I> PyObject* tuple_to_python(const Tuple& values, std::index_sequence<I...>) {
  PyObject* result = PyTuple_New(sizeof...(I));
  if (result == nullptr) throw PythonError{};
  (PyTuple_SET_ITEM(result, I, to_python(std::get<I>(values))), ...);
  return result;
}

template <class T> struct To {
  static PyObject* get(const T& value) {
    if constexpr (std::is_same_v<T, bool>) return PyBool_FromLong(value);
    else if constexpr (std::is_integral_v<T> && std::is_unsigned_v<T>) return PyLong_FromUnsignedLongLong(value);
    else if constexpr (std::is_integral_v<T>) return PyLong_FromLongLong(value);
    else if constexpr (std::is_floating_point_v<T>) return PyFloat_FromDouble(value);
    else static_assert(unknown_type<T>, "kforge's slim binding does not know this result type");
  }
};
template <> struct To<at::Tensor> {
  static PyObject* get(const at::Tensor& value) { return THPVariable_Wrap(value); }
};
template <> struct To<std::string> {
  static PyObject* get(const std::string& value) { return PyUnicode_FromStringAndSize(value.data(), value.size()); }
};
template <class T> struct To<std::optional<T>> {
  static PyObject* get(const std::optional<T>& value) {
    if (!value.has_value()) Py_RETURN_NONE;
    return to_python(*value);
  }
};
template <class T> struct To<std::vector<T>> {
  static PyObject* get(const std::vector<T>& values) {
    PyObject* result = PyList_New(static_cast<Py_ssize_t>(values.size()));
    if (result == nullptr) throw PythonError{};
    for (size_t i = 0; i < values.size(); ++i)
      PyList_SET_ITEM(result, static_cast<Py_ssize_t>(i), to_python(static_cast<T>(values[i])));
    return result;
  }
};
template <class... T> struct To<std::tuple<T...>> {
  static PyObject* get(const std::tuple<T...>& values) {
    return tuple_to_python(values, std::index_sequence_for<T...>{});
  }
};
template <class A, class B> struct To<std::pair<A, B>> {
  static PyObject* get(const std::pair<A, B>& values) {
    return tuple_to_python(values, std::index_sequence_for<A, B>{});
  }
};

template <class T> PyObject* to_python(const T& value) {
  PyObject* result = To<T>::get(value);
  if (result == nullptr) throw PythonError{};
  return result;
}

// The classes that torch's own bindings raise for its exceptions.
inline PyObject* python_class(const c10::Error& error) {
  if (dynamic_cast<const c10::IndexError*>(&error) != nullptr) return PyExc_IndexError;
  if (dynamic_cast<const c10::ValueError*>(&error) != nullptr) return PyExc_ValueError;
  if (dynamic_cast<const c10::TypeError*>(&error) != nullptr) return PyExc_TypeError;
  if (dynamic_cast<const c10::NotImplementedError*>(&error) != nullptr) return PyExc_NotImplementedError;
  return PyExc_RuntimeError;
}

template <class Call> PyObject* guarded(const char* name, Call&& call) {
  try {
    return call();
  } catch (const WrongArgument&) {
    PyErr_Format(PyExc_TypeError, "%s(): incompatible function arguments", name);
  } catch (const PythonError&) {
  } catch (const c10::Error& error) {
    PyErr_SetString(python_class(error), error.what_without_backtrace());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

template <class R, class... A> struct Function {
  PyMethodDef method;  // stays where it is: Python keeps its address
  R (*target)(A...);

  static PyObject* call(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    auto* function = static_cast<Function*>(PyCapsule_GetPointer(self, nullptr));
    return guarded(function->method.ml_name, [&] {
      if (count != static_cast<Py_ssize_t>(sizeof...(A))) throw WrongArgument{};
      return function->run(arguments, std::index_sequence_for<A...>{});
    });
  }

  template <size_t... I> PyObject* run([[maybe_unused]] PyObject* const* arguments, std::index_sequence<I...>) {
    std::tuple<Held_t<A>...> held{From<Held_t<A>>::get(arguments[I])...};
    if constexpr (std::is_void_v<R>) {
      target(static_cast<A>(std::get<I>(held))...);
      Py_RETURN_NONE;
    } else {
      return to_python<std::remove_cv_t<std::remove_reference_t<R>>>(target(static_cast<A>(std::get<I>(held))...));
    }
  }
};

class Module {
 public:
  explicit Module(PyObject* module) : module_(module) {}

  template <class R, class... A> Module& def(const char* name, R (*target)(A...), const char* text = "") {
    auto* function = new Function<R, A...>{};
    function->method = {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&Function<R, A...>::call)),
                        METH_FASTCALL, text};
    function->target = target;
    PyObject* self = PyCapsule_New(function, nullptr, nullptr);
    PyObject* bound = self == nullptr ? nullptr : PyCFunction_New(&function->method, self);
    Py_XDECREF(self);
    if (bound == nullptr || PyObject_SetAttrString(module_, name, bound) != 0) throw PythonError{};
    Py_DECREF(bound);
    return *this;
  }

  // A lambda that captures nothing.
  template <class F, class = decltype(+std::declval<F>()), class = std::enable_if_t<std::is_class_v<F>>>
  Module& def(const char* name, F target, const char* text = "") {
    return def(name, +target, text);
  }

  std::string& doc() { return doc_; }  // accepted and dropped

 private:
  PyObject* module_;
  std::string doc_;
};

inline PyObject* make_module(PyModuleDef* definition, void (*fill)(Module&)) {
  PyObject* module = PyModule_Create(definition);
  if (module == nullptr) return nullptr;
  PyObject* filled = guarded(definition->m_name, [&] {
    Module bound(module);
    fill(bound);
    Py_RETURN_NONE;
  });
  if (filled == nullptr) {
    Py_DECREF(module);
    return nullptr;
  }
  Py_DECREF(filled);
  return module;
}

}  // namespace kforge_bind

#define KFORGE_MODULE(name, variable)                                                                   \
  static void kforge_fill_##name(kforge_bind::Module& variable);                                        \
  extern "C" __attribute__((visibility("default"))) PyObject* PyInit_##name() {                         \
    static PyModuleDef definition = {PyModuleDef_HEAD_INIT, #name, nullptr, -1, nullptr, nullptr,       \
                                     nullptr, nullptr, nullptr};                                        \
    return kforge_bind::make_module(&definition, &kforge_fill_##name);                                  \
  }                                                                                                     \
  static void kforge_fill_##name([[maybe_unused]] kforge_bind::Module& variable)
#define PYBIND11_MODULE(name, variable) KFORGE_MODULE(name, variable)
