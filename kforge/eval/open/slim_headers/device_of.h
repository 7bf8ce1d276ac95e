// ATen/DeviceGuard.h without lists of tensors, which cost nvcc seven seconds and which guards do not use.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace at {
inline std::optional<Device> device_of(const Tensor& tensor) {
  return tensor.defined() ? std::optional<Device>(tensor.device()) : std::nullopt;
}
inline std::optional<Device> device_of(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? device_of(*tensor) : std::nullopt;
}
}  // namespace at
