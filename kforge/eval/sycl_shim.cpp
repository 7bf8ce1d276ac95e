// C interface over DPC++'s runtime compiler (sycl_ext_oneapi_kernel_compiler) and SYCLBIN loader, built with
// plain g++ against the headers and libsycl.so that the intel-sycl-rt wheel ships. No icpx is needed.
//
// ctx, dev, queue: addresses of the SYCL objects behind dpctl's, as dpctl's addressof_ref() gives them.
// Every char** output is malloc'd here and freed by the caller with kf_free.
#include <sycl/sycl.hpp>
#include <sycl/ext/oneapi/experimental/syclbin_kernel_bundle.hpp>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace syclex = sycl::ext::oneapi::experimental;
using executable = sycl::kernel_bundle<sycl::bundle_state::executable>;

static char *duplicate(const std::string &text) {
  char *copy = static_cast<char *>(malloc(text.size() + 1));
  memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

template <typename Bytes> static void *copy_out(const Bytes &bytes, size_t *size) {
  *size = bytes.size();
  void *copy = malloc(bytes.size());
  memcpy(copy, bytes.data(), bytes.size());
  return copy;
}

extern "C" {

void kf_free(void *p) { free(p); }

int kf_compiler_version() { return __SYCL_COMPILER_VERSION; }

// Compiles source to SPIR-V (object, a SYCLBIN) and links it for the device (image, a SYCLBIN).
// Returns 0, or 1 with the diagnostics in *log.
int kf_build(void *ctx, void *dev, const char *source, const char **options, int n_options, void **object,
             size_t *object_size, void **image, size_t *image_size, char **log) {
  std::string build_log;
  try {
    auto &context = *static_cast<sycl::context *>(ctx);
    auto &device = *static_cast<sycl::device *>(dev);
    auto bundle = syclex::create_kernel_bundle_from_source(context, syclex::source_language::sycl,
                                                           std::string(source));
    std::vector<std::string> flags(options, options + n_options);
    auto compiled = syclex::compile(
        bundle, {device}, syclex::properties{syclex::build_options{flags}, syclex::save_log{&build_log}});
    *object = copy_out(compiled.ext_oneapi_get_content(), object_size);
    auto linked = sycl::link(compiled, {device});
    *image = copy_out(linked.ext_oneapi_get_content(), image_size);
    *log = duplicate(build_log);
    return 0;
  } catch (const std::exception &error) {
    *log = duplicate(build_log + (build_log.empty() ? "" : "\n") + error.what());
    return 1;
  }
}

// Loads an executable SYCLBIN. Returns a new kernel bundle, or null with the reason in *error.
void *kf_load(void *ctx, void *dev, char *image, size_t size, char **error) {
  try {
    auto &context = *static_cast<sycl::context *>(ctx);
    auto &device = *static_cast<sycl::device *>(dev);
    return new executable(syclex::get_kernel_bundle<sycl::bundle_state::executable>(
        context, {device}, sycl::span<char>(image, size)));
  } catch (const std::exception &failure) {
    *error = duplicate(failure.what());
    return nullptr;
  }
}

// Returns a new kernel of the bundle, or null with the reason in *error.
void *kf_kernel(void *bundle, const char *name, char **error) {
  try {
    return new sycl::kernel(static_cast<executable *>(bundle)->ext_oneapi_get_kernel(std::string(name)));
  } catch (const std::exception &failure) {
    *error = duplicate(failure.what());
    return nullptr;
  }
}

// Submits one launch. kinds[i]: 0 pointer (values[i]), 1 scalar of sizes[i] bytes at values[i],
// 2 local memory of sizes[i] bytes. global and local are in SYCL order (slowest dimension first).
// Returns a new event, or null with the reason in *error.
void *kf_launch(void *queue, void *kernel, int dimensions, const size_t *global, const size_t *local, int n_args,
                const int *kinds, void **values, const size_t *sizes, char **error) {
  try {
    auto &q = *static_cast<sycl::queue *>(queue);
    auto &k = *static_cast<sycl::kernel *>(kernel);
    auto event = q.submit([&](sycl::handler &h) {
      for (int i = 0; i < n_args; ++i) {
        if (kinds[i] == 0) {
          h.set_arg(i, values[i]);
        } else if (kinds[i] == 2) {
          h.set_arg(i, sycl::local_accessor<char, 1>(sycl::range<1>(sizes[i]), h));
        } else {
          switch (sizes[i]) {
          case 1: h.set_arg(i, *static_cast<uint8_t *>(values[i])); break;
          case 2: h.set_arg(i, *static_cast<uint16_t *>(values[i])); break;
          case 4: h.set_arg(i, *static_cast<uint32_t *>(values[i])); break;
          case 8: h.set_arg(i, *static_cast<uint64_t *>(values[i])); break;
          default: throw std::runtime_error("scalar argument of an unsupported size");
          }
        }
      }
      if (dimensions == 1)
        h.parallel_for(sycl::nd_range<1>({global[0]}, {local[0]}), k);
      else if (dimensions == 2)
        h.parallel_for(sycl::nd_range<2>({global[0], global[1]}, {local[0], local[1]}), k);
      else
        h.parallel_for(sycl::nd_range<3>({global[0], global[1], global[2]}, {local[0], local[1], local[2]}), k);
    });
    return new sycl::event(std::move(event));
  } catch (const std::exception &failure) {
    *error = duplicate(failure.what());
    return nullptr;
  }
}

// Waits for the queue. Returns 0, or 1 with the reason in *error.
int kf_wait(void *queue, char **error) {
  try {
    static_cast<sycl::queue *>(queue)->wait_and_throw();
    return 0;
  } catch (const std::exception &failure) {
    *error = duplicate(failure.what());
    return 1;
  }
}

// Device nanoseconds of a finished event; deletes the event.
uint64_t kf_event_ns(void *event) {
  auto *e = static_cast<sycl::event *>(event);
  uint64_t start = e->get_profiling_info<sycl::info::event_profiling::command_start>();
  uint64_t end = e->get_profiling_info<sycl::info::event_profiling::command_end>();
  delete e;
  return end - start;
}
}
