// An accelerator in name only: tensors of their own device, whose bytes lie in main memory, whose
// kernels are the CPU's, and whose memory is counted and bounded. As on a real one an operation
// refuses tensors of several devices, backward passes run on a thread of the device, and memory
// that is not there is an OutOfMemoryError.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/native/transformers/sdp_utils_cpp.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>

namespace {

constexpr auto kDevice = c10::DeviceType::PrivateUse1;
const c10::Device kFirst(kDevice, 0);

std::atomic<int64_t> total{0}, used{0}, most{0};

// ---- memory

struct Block {
  void* data;
  int64_t size;
};

void release(void* context) {
  auto* block = static_cast<Block*>(context);
  used -= block->size;
  std::free(block->data);
  delete block;
}

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    const auto size = static_cast<int64_t>(n);
    if ((used += size) > total) {
      used -= size;
      TORCH_CHECK_WITH(
          OutOfMemoryError, false, "emulated device out of memory: ", size, " bytes asked for, ",
          total - used, " of ", total, " free");
    }
    for (int64_t now = used, high = most; high < now && !most.compare_exchange_weak(high, now);) {
    }
    void* data = size ? std::malloc(n) : nullptr;
    return {data, new Block{data, size}, &release, kFirst};
  }
  c10::DeleterFnPtr raw_deleter() const override {
    return nullptr;
  }
  void copy_data(void* to, const void* from, size_t n) const override {
    default_copy_data(to, from, n);
  }
};

Allocator allocator;
REGISTER_ALLOCATOR(kDevice, &allocator);

// ---- what torch asks of a device

struct Guard final : c10::impl::NoOpDeviceGuardImpl<kDevice> {
  c10::Device exchangeDevice(c10::Device) const override {
    return kFirst;
  }
  c10::Device getDevice() const override {
    return kFirst;
  }
  c10::Stream getStream(c10::Device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, kFirst);
  }
  c10::Stream getDefaultStream(c10::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, kFirst);
  }
  c10::Stream exchangeStream(c10::Stream) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, kFirst);
  }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag)
      const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override {
    return true;
  }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override {
    return true;
  }
  bool isAvailable() const override {
    return true;
  }
  bool hasPrimaryContext(c10::DeviceIndex) const override {
    return true;
  }
  c10::DeviceIndex deviceCount() const override {
    return 1;
  }
  c10::DeviceIndex getCurrentDevice() const override {
    return 0;
  }
  // Chance comes from the CPU's generators, so that it can be compared.
  at::Generator getNewGenerator(c10::DeviceIndex) const override {
    return at::detail::createCPUGenerator();
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();
  }
};
Hooks hooks;

// ---- tensors

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

at::Tensor empty_memory_format(
    c10::IntArrayRef sizes, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>,
    std::optional<c10::Device>, std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  const auto type = dtype.value_or(c10::get_default_dtype_as_scalartype());
  return at::detail::empty_generic(sizes, &allocator, kKeys, type, format);
}

at::Tensor empty_strided(
    c10::IntArrayRef sizes, c10::IntArrayRef strides, std::optional<c10::ScalarType> dtype,
    std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>) {
  const auto type = dtype.value_or(c10::get_default_dtype_as_scalartype());
  return at::detail::empty_strided_generic(sizes, strides, &allocator, kKeys, type);
}

// The same bytes, as a tensor of the CPU.
at::Tensor on_cpu(const at::Tensor& tensor) {
  if (!tensor.is_privateuseone()) {
    return tensor;
  }
  auto options = at::TensorOptions().dtype(tensor.scalar_type()).device(c10::kCPU);
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), options);
}

std::optional<at::Tensor> on_cpu(const std::optional<at::Tensor>& tensor) {
  return tensor && tensor->defined() ? std::optional(on_cpu(*tensor)) : std::nullopt;
}

at::Tensor on_device(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.to(kFirst) : tensor;
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  on_cpu(to).copy_(on_cpu(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) {
    to.resize_(from.sizes());
  }
  return copy_from(from, to, false);
}

at::Scalar local_scalar_dense(const at::Tensor& tensor) {
  return on_cpu(tensor).item();
}

at::Tensor& set_whole_storage(at::Tensor& tensor, at::Storage storage) {
  const auto size = static_cast<int64_t>(storage.nbytes() / tensor.dtype().itemsize());
  return at::native::set_storage_cpu_(tensor, storage, 0, {size}, {1});
}

at::Tensor& set_storage(
    at::Tensor& tensor, at::Storage storage, c10::SymInt offset, c10::SymIntArrayRef sizes,
    c10::SymIntArrayRef strides) {
  return at::native::set_storage_cpu_(
      tensor, storage, offset.expect_int(), C10_AS_INTARRAYREF_SLOW(sizes),
      C10_AS_INTARRAYREF_SLOW(strides));
}

const at::Tensor& resize(
    const at::Tensor& tensor, c10::SymIntArrayRef sizes, std::optional<c10::MemoryFormat> format) {
  return at::native::resize_(tensor, C10_AS_INTARRAYREF_SLOW(sizes), format);
}

at::Tensor as_strided(
    const at::Tensor& tensor, c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides,
    std::optional<c10::SymInt> offset) {
  const auto at = offset ? std::optional(offset->expect_int()) : std::nullopt;
  return at::native::as_strided_tensorimpl(
      tensor, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides), at);
}

at::Tensor view(const at::Tensor& tensor, c10::SymIntArrayRef sizes) {
  return at::native::view(tensor, C10_AS_INTARRAYREF_SLOW(sizes));
}

at::Tensor reshape_alias(
    const at::Tensor& tensor, c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides) {
  return at::native::_reshape_alias(
      tensor, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides));
}

// ---- refusing what lies elsewhere

// As with CUDA, single numbers may come from anywhere.
bool is_elsewhere(const at::Tensor& tensor) {
  return tensor.defined() && tensor.is_cpu() && tensor.dim() > 0;
}

bool is_elsewhere(const c10::IValue& value) {
  if (value.isTensorList()) {
    const auto tensors = value.toTensorVector();
    return std::any_of(tensors.begin(), tensors.end(), [](auto& t) { return is_elsewhere(t); });
  }
  return value.isTensor() && is_elsewhere(value.toTensor());
}

bool is_elsewhere(const std::optional<at::Tensor>& tensor) {
  return tensor && is_elsewhere(*tensor);
}

void check(const std::string& name, bool is_mixed) {
  TORCH_CHECK(
      !is_mixed, "Expected all tensors to be on the same device, but ", name,
      " got some on the emulated device and some on the cpu");
}

// ---- operations for which torch has no fallback

at::Tensor convolution(
    const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
    c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
    bool transposed, c10::SymIntArrayRef output_padding, c10::SymInt groups) {
  check("convolution", is_elsewhere(input) || is_elsewhere(weight) || is_elsewhere(bias));
  return on_device(at::convolution_symint(
      on_cpu(input), on_cpu(weight), on_cpu(bias), stride, padding, dilation, transposed,
      output_padding, groups));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient, const at::Tensor& input, const at::Tensor& weight,
    c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
    bool transposed, c10::SymIntArrayRef output_padding, c10::SymInt groups,
    std::array<bool, 3> wanted) {
  const c10::SymInt channels = gradient.sym_size(1);
  auto [of_input, of_weight, of_bias] = at::convolution_backward_symint(
      on_cpu(gradient), on_cpu(input), on_cpu(weight), c10::SymIntArrayRef(channels), stride,
      padding, dilation, transposed, output_padding, groups, wanted);
  return {on_device(of_input), on_device(of_weight), on_device(of_bias)};
}

// Changes running statistics in place without saying so in its schema.
std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm(
    const at::Tensor& input, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& mean,
    const std::optional<at::Tensor>& variance, bool training, double momentum, double eps) {
  check("batch_norm", is_elsewhere(input) || is_elsewhere(weight) || is_elsewhere(bias));
  check("batch_norm", is_elsewhere(mean) || is_elsewhere(variance));
  auto [output, saved_mean, saved_variance] = at::native_batch_norm(
      on_cpu(input), on_cpu(weight), on_cpu(bias), on_cpu(mean), on_cpu(variance), training,
      momentum, eps);
  return {on_device(output), on_device(saved_mean), on_device(saved_variance)};
}

int64_t attention_choice(
    const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
    double, bool, std::optional<double>, bool) {
  return static_cast<int64_t>(sdp::SDPBackend::math);
}

// ---- everything else: the CPU's kernel on copies

void fallback(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  const auto& name = operation.operator_name().name;
  const bool takes_indices =
      name == "aten::index" || name == "aten::index_put_" || name == "aten::_index_put_impl_";
  for (const auto& value : torch::jit::last(*stack, operation.schema().arguments().size())) {
    check(name, !takes_indices && is_elsewhere(value));
  }
  at::native::cpu_fallback(operation, stack);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty_memory_format);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &local_scalar_dense);
  m.impl("set_.source_Storage", &set_whole_storage);
  m.impl("set_.source_Storage_storage_offset", &set_storage);
  m.impl("resize_", &resize);
  m.impl("as_strided", &as_strided);
  m.impl("view", &view);
  m.impl("_reshape_alias", &reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("native_batch_norm", &batch_norm);
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
}

}  // namespace

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(_fused_sdp_choice_stub, &attention_choice)
}

extern "C" {
void emulated_start(int64_t bytes) {
  total = bytes;
  at::RegisterPrivateUse1HooksInterface(&hooks);
}
int64_t emulated_used() {
  return used;
}
int64_t emulated_most() {
  return most;
}
void emulated_forget_most() {
  most = used.load();
}
}
