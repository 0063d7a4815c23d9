#include "ops/quantized_linear.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kvcache::ops {
namespace {

std::int64_t attribute(const OrtKernelInfo* info, const char* name) {
  return Ort::ConstKernelInfo(info).GetAttribute<std::int64_t>(name);
}

AccuracyLevel accuracy_of(const OrtKernelInfo* info, const std::string& node) {
  const std::int64_t value = attribute(info, "accuracy_level");
  const auto level = static_cast<AccuracyLevel>(value);
  if (level != AccuracyLevel::float32 && level != AccuracyLevel::int8) {
    fail(fmt::format("{}: accuracy_level is {}, must be 1 (float32) or 4 (int8)", node, value));
  }
  return level;
}

}  // namespace

QuantizedProduct::QuantizedProduct(const OrtKernelInfo* info, WeightStore& weights, const char* op,
                                   std::size_t weight_input, std::size_t scales_input)
    : name_(node_name(op, info)),
      weight_(info, weights, name_, weight_input, scales_input),
      accuracy_(accuracy_of(info, name_)) {}

void QuantizedProduct::compute(Ort::KernelContext& context, const Shape& x_shape,
                               std::int64_t outputs, QuantizedLinearArgs args,
                               const ParallelFor& parallel_for) const {
  args.weight = weight_.matrix(context, name_, x_shape[2], outputs);
  args.out = context.GetOutput(0, Shape{x_shape[0], x_shape[1], outputs})
                 .template GetTensorMutableData<float>();
  args.tokens = x_shape[0] * x_shape[1];
  args.accuracy = accuracy_;
  quantized_linear_cpu(args, parallel_for);
}

template <LinearNode kNode>
OrtStatusPtr QuantizedLinearKernel<kNode>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const OrtParallelFor parallel_for(context);
    QuantizedLinearArgs args;
    const Shape shape = shape_of(context.GetInput(0));
    args.x = around_.tokens(context, name_, shape, parallel_for);
    const auto bias = context.GetInput(bias_input(kNode));
    const Shape bias_shape = shape_of(bias);
    check(bias_shape.size() == 1, name_, "bias must be [outputs]");
    args.bias = bias.GetTensorData<float>();
    args.residual = around_.residual(context, name_, {shape[0], shape[1], bias_shape[0]});
    args.activation = activation_of(kNode);
    compute(context, shape, bias_shape[0], args, parallel_for);
  });
}

template class QuantizedLinearKernel<LinearNode::norm>;
template class QuantizedLinearKernel<LinearNode::norm_gelu>;
template class QuantizedLinearKernel<LinearNode::residual>;

QuantizedHeadKernel::QuantizedHeadKernel(const OrtKernelInfo* info, WeightStore& weights)
    : QuantizedProduct(info, weights, kName, kWeightInput, kInputs - 1),
      outputs_(attribute(info, "outputs")) {}

OrtStatusPtr QuantizedHeadKernel::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto x = context.GetInput(0);
    const Shape shape = shape_of(x);
    check(shape.size() == 3, name_, "x must be [batch, num_logits, inputs]");
    QuantizedLinearArgs args;
    args.x = x.GetTensorData<float>();
    compute(context, shape, outputs_, args, OrtParallelFor(context));
  });
}

QuantizedEmbeddingKernel::QuantizedEmbeddingKernel(const OrtKernelInfo* info, WeightStore& weights)
    : name_(node_name(kName, info)),
      weight_(info, weights, name_, kWeightInput, kInputs - 1),
      inputs_(attribute(info, "inputs")),
      outputs_(attribute(info, "outputs")) {}

OrtStatusPtr QuantizedEmbeddingKernel::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto ids = context.GetInput(0);
    const Shape shape = shape_of(ids);
    check(shape.size() == 2, name_, "ids must be [batch, seq_len]");
    const QuantizedWeight weight = weight_.matrix(context, name_, inputs_, outputs_);
    const auto* id = ids.GetTensorData<std::int64_t>();
    const std::int64_t count = shape[0] * shape[1];
    check(std::all_of(id, id + count, [&](auto row) { return row >= 0 && row < outputs_; }), name_,
          "ids must lie in [0, rows of the weight)");
    float* out = context.GetOutput(0, Shape{shape[0], shape[1], inputs_})
                     .template GetTensorMutableData<float>();
    constexpr std::int64_t kAtATime = 16;
    const OrtParallelFor parallel_for(context);
    parallel_for((count + kAtATime - 1) / kAtATime, [&](std::int64_t part) {
      const std::int64_t end = std::min((part + 1) * kAtATime, count);
      for (std::int64_t i = part * kAtATime; i < end; ++i) {
        quantized_row_cpu(weight, id[i], out + i * inputs_);
      }
    });
  });
}

}  // namespace kvcache::ops
