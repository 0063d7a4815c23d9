// What requests are answered with.
#include <algorithm>
#include <numeric>
#include <utility>

#include "base/throw_error.hpp"
#include "kvcache/evaluator_request.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {

/// Rows that were copied out of a run: of each output, the logits first, [rows, size].
struct EvaluatedNodes::Copy {
  struct Output {
    std::string name;  // empty: the logits
    std::size_t size;
    std::vector<float> values;
  };
  std::size_t rows;
  std::vector<Output> outputs;
};

namespace {

constexpr Meaning kReadAnswer{"the answer was not read", ErrorCode::run_failed,
                              ErrorCode::run_failed};

}  // namespace

std::size_t EvaluatedNodes::rows() const noexcept {
  return copy_ ? copy_->rows : tree_->logits().rows();
}

std::span<const float> EvaluatedNodes::row(std::size_t row) const {
  return copy_ ? output({}, row) : tree_->logits().row(row);
}

std::span<const float> EvaluatedNodes::output(std::string_view name, std::size_t row) const {
  if (!copy_) {
    return tree_->logits().output(name, row);
  }
  const auto found = std::ranges::find(copy_->outputs, name, &Copy::Output::name);
  if (found == copy_->outputs.end()) {
    throw_error(ErrorCode::invalid_argument, "the model has no output \"{}\" beside its logits",
                name);
  }
  if (row >= copy_->rows) {
    throw_error(ErrorCode::invalid_argument, "logits row {} was asked for, there are {}", row,
                copy_->rows);
  }
  return std::span(found->values).subspan(row * found->size, found->size);
}

EvaluatedNodes EvaluatedNodes::copy_rows(const ModelInfo& info) const try {
  auto copy = std::make_shared<Copy>();
  copy->rows = rows();
  const auto add = [&](std::string name, std::size_t size, const auto& row_of) {
    Copy::Output output{std::move(name), size, {}};
    output.values.reserve(size * copy->rows);
    for (std::size_t i = 0; i < copy->rows; ++i) {
      const std::span<const float> values = row_of(i);
      output.values.insert(output.values.end(), values.begin(), values.end());
    }
    copy->outputs.push_back(std::move(output));
  };
  add({}, info.vocab_size, [this](std::size_t i) { return row(i); });
  for (const OutputInfo& beside : info.outputs) {
    add(beside.name, beside.size, [&](std::size_t i) { return output(beside.name, i); });
  }
  EvaluatedNodes nodes(nullptr);
  nodes.copy_ = std::move(copy);
  return nodes;
} catch (...) {
  rethrow_as_error(kReadAnswer);
}

std::size_t EvaluatedNodes::copied_bytes() const noexcept {
  if (!copy_) {
    return 0;
  }
  std::size_t bytes = sizeof(Copy);
  for (const Copy::Output& output : copy_->outputs) {
    bytes += sizeof(output) + output.values.capacity() * sizeof(float);
  }
  return bytes;
}

std::span<const float> Scores::tokens(std::size_t continuation) const {
  if (continuation >= size()) {
    throw_error(ErrorCode::invalid_argument,
                "the score of continuation {} was asked for, there are {}", continuation, size());
  }
  return std::span(log_probabilities_)
      .subspan(begins_[continuation], begins_[continuation + 1] - begins_[continuation]);
}

float Scores::total(std::size_t continuation) const {
  const std::span<const float> each = tokens(continuation);
  return static_cast<float>(std::accumulate(each.begin(), each.end(), 0.0));
}

std::span<const float> Scores::output(std::size_t i) const {
  if (i >= outputs_.size()) {
    throw_error(ErrorCode::invalid_argument, "output {} was asked for, the request named {}", i,
                outputs_.size());
  }
  return outputs_[i];
}

std::size_t Scores::bytes() const noexcept {
  std::size_t bytes =
      log_probabilities_.capacity() * sizeof(float) + begins_.capacity() * sizeof(std::size_t);
  for (const std::vector<float>& output : outputs_) {
    bytes += sizeof(std::vector<float>) + output.capacity() * sizeof(float);
  }
  return bytes;
}

}  // namespace kvcache
