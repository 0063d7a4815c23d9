#include "ops/fast_gelu.hpp"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "ops/cpu/fast_gelu_cpu.hpp"
#include "ops/parallel_for.hpp"

namespace kvcache::ops {
namespace {

void gelu_row(const float* in, const float* bias, std::int64_t width, float* out) {
  fast_gelu_cpu(in, bias, width, out);
}

/// 16-bit types: widened, computed in float32, rounded once.
template <typename T>
void gelu_row(const T* in, const T* bias, std::int64_t width, T* out) {
  thread_local std::vector<float> wide_in;
  thread_local std::vector<float> wide_bias;
  const auto widen = [&](const T* from, std::vector<float>& to) {
    to.resize(static_cast<std::size_t>(width));
    std::transform(from, from + width, to.begin(), [](T value) { return value.ToFloat(); });
  };
  widen(in, wide_in);
  widen(bias, wide_bias);
  fast_gelu_cpu(wide_in.data(), wide_bias.data(), width, wide_in.data());
  std::transform(wide_in.begin(), wide_in.end(), out, [](float value) { return T(value); });
}

}  // namespace

template <typename T>
FastGeluKernel<T>::FastGeluKernel(const OrtKernelInfo* info)
    : name_("FastGelu " + Ort::ConstKernelInfo(info).GetNodeName()) {}

template <typename T>
OrtStatusPtr FastGeluKernel<T>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    compute(context);
  });
}

template <typename T>
void FastGeluKernel<T>::compute(Ort::KernelContext& context) const {
  const auto input = context.GetInput(0);
  const auto bias = context.GetInput(1);
  const Shape shape = shape_of(input);
  check(!shape.empty() && shape_of(bias) == Shape{shape.back()}, name_,
        "bias must be [n] for an input [..., n]");
  const std::int64_t width = shape.back();
  const auto count =
      static_cast<std::int64_t>(input.GetTensorTypeAndShapeInfo().GetElementCount());
  const auto* in = input.template GetTensorData<T>();
  const auto* bias_data = bias.template GetTensorData<T>();
  auto* out = context.GetOutput(0, shape).template GetTensorMutableData<T>();
  const OrtParallelFor parallel_for(context);
  parallel_for(width == 0 ? 0 : count / width, [&](std::int64_t row) {
    gelu_row(in + row * width, bias_data, width, out + row * width);
  });
}

template class FastGeluKernel<float>;
template class FastGeluKernel<Ort::Float16_t>;
template class FastGeluKernel<Ort::BFloat16_t>;

}  // namespace kvcache::ops
