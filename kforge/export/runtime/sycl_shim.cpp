// C interface over the SYCL runtime for one exported kernel module: device, queue, module, launches.
// Built with plain g++ against the headers and libsycl.so of the intel-sycl-rt wheel. No icpx, no dpctl.
//
// Every char** output is malloc'd here and freed by the caller with kx_free.
#include <sycl/sycl.hpp>
#include <sycl/ext/oneapi/experimental/syclbin_kernel_bundle.hpp>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace syclex = sycl::ext::oneapi::experimental;
using executable = sycl::kernel_bundle<sycl::bundle_state::executable>;

static char *duplicate(const std::string &text) {
  char *copy = static_cast<char *>(malloc(text.size() + 1));
  memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

extern "C" {

void kx_free(void *p) { free(p); }

// Opens the number-th OpenCL CPU device. Returns a new in-order queue, or null with the reason in *error.
// name: "NAME\nDRIVER"; system: whether kernels may use ordinary host memory.
void *kx_open(int number, char **name, int *system, char **error) {
  try {
    int found = 0;
    for (const auto &device : sycl::device::get_devices(sycl::info::device_type::cpu)) {
      if (device.get_backend() != sycl::backend::opencl || found++ != number) continue;
      *name = duplicate(device.get_info<sycl::info::device::name>() + "\n" +
                        device.get_info<sycl::info::device::driver_version>());
      *system = device.has(sycl::aspect::usm_system_allocations);
      return new sycl::queue(
          device, {sycl::property::queue::in_order(), sycl::property::queue::enable_profiling()});
    }
    *error = duplicate("there is no OpenCL CPU device " + std::to_string(number));
  } catch (const std::exception &failure) {
    *error = duplicate(failure.what());
  }
  return nullptr;
}

// Loads an executable SYCLBIN. Returns a new kernel bundle, or null with the reason in *error.
void *kx_load(void *queue, char *image, size_t size, char **error) {
  try {
    auto &q = *static_cast<sycl::queue *>(queue);
    return new executable(syclex::get_kernel_bundle<sycl::bundle_state::executable>(
        q.get_context(), {q.get_device()}, sycl::span<char>(image, size)));
  } catch (const std::exception &failure) {
    *error = duplicate(failure.what());
    return nullptr;
  }
}

// Returns a new kernel of the bundle, or null with the reason in *error.
void *kx_kernel(void *bundle, const char *name, char **error) {
  try {
    return new sycl::kernel(static_cast<executable *>(bundle)->ext_oneapi_get_kernel(std::string(name)));
  } catch (const std::exception &failure) {
    *error = duplicate(failure.what());
    return nullptr;
  }
}

// Submits one launch. kinds[i]: 0 pointer (values[i]), 1 scalar of sizes[i] bytes at values[i], 2 local memory of
// sizes[i] bytes. Ranges are in SYCL order (slowest dimension first). Returns a new event, or null and *error.
void *kx_launch(void *queue, void *kernel, int dimensions, const size_t *global, const size_t *local, int n_args,
                const int *kinds, void **values, const size_t *sizes, char **error) {
  try {
    auto &k = *static_cast<sycl::kernel *>(kernel);
    auto event = static_cast<sycl::queue *>(queue)->submit([&](sycl::handler &h) {
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
int kx_wait(void *queue, char **error) {
  try {
    static_cast<sycl::queue *>(queue)->wait_and_throw();
    return 0;
  } catch (const std::exception &failure) {
    *error = duplicate(failure.what());
    return 1;
  }
}

// Device nanoseconds of a finished event; deletes the event.
uint64_t kx_event_ns(void *event) {
  auto *e = static_cast<sycl::event *>(event);
  uint64_t start = e->get_profiling_info<sycl::info::event_profiling::command_start>();
  uint64_t end = e->get_profiling_info<sycl::info::event_profiling::command_end>();
  delete e;
  return end - start;
}
}
