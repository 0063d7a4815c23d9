#include "kvcache/logits.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/throw_error.hpp"
#include "inference/engine.hpp"
#include "kvcache/constraint.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

constexpr Meaning kReadLogits{"the logits were not read", ErrorCode::run_failed,
                              ErrorCode::run_failed};

std::string join_names(std::span<const OutputInfo> outputs) {
  std::string joined;
  for (const OutputInfo& output : outputs) {
    joined += (joined.empty() ? "" : ", ") + output.name;
  }
  return joined;
}

void check_mask(const TokenMask& allowed, std::size_t vocab_size) {
  if (allowed.vocab_size() != vocab_size) {
    throw_error(ErrorCode::invalid_argument,
                "the mask of allowed tokens is of a vocabulary of {}, the logits are of {}; make "
                "it of the model's vocab_size",
                allowed.vocab_size(), vocab_size);
  }
}

}  // namespace

Logits::Logits(inference::WorkspaceLease lease, std::size_t first, std::size_t rows) noexcept
    : lease_(std::move(lease)), first_(first), rows_(rows) {}

std::size_t Logits::vocab_size() const noexcept { return lease_->info().vocab_size; }

std::size_t Logits::row_of_run(std::size_t row) const {
  if (row >= rows()) {
    throw_error(ErrorCode::invalid_argument, "logits row {} was asked for, there are {}", row,
                rows());
  }
  return first_ + row;
}

bool Logits::on_host() const noexcept { return lease_->step().on_host(); }

LogitsMemory Logits::memory() const try {
  device::Step& step = lease_->step();
  const DataType type = lease_->info().dtype;
  return {.data = step.device_logits() + first_ * vocab_size() * data_type_size(type),
          .type = type,
          .device = step.on_host() ? Device::cpu : Device::cuda,
          .device_id = lease_->device_id()};
} catch (...) {
  rethrow_as_error(kReadLogits);
}

std::span<const float> Logits::row(std::size_t row) const try {
  return lease_->step().row(row_of_run(row));
} catch (...) {
  rethrow_as_error(kReadLogits);
}

TokenId Logits::argmax(std::size_t row) const try {
  return lease_->step().argmax(row_of_run(row));
} catch (...) {
  rethrow_as_error(kReadLogits);
}

std::span<const float> Logits::output(std::string_view name, std::size_t row) const try {
  const std::vector<OutputInfo>& outputs = lease_->info().outputs;
  const auto found = std::ranges::find(outputs, name, &OutputInfo::name);
  if (found == outputs.end()) {
    throw_error(ErrorCode::invalid_argument,
                "the model has no output \"{}\" beside its logits; it has {}", name,
                outputs.empty() ? "none" : join_names(outputs));
  }
  const auto number = static_cast<std::size_t>(found - outputs.begin());
  const std::span<const float> values = lease_->step().output(number, row_of_run(row));
  if (std::ranges::any_of(values, [](float value) { return std::isnan(value); })) {
    throw_error(ErrorCode::logits_invalid, "row {} of the output \"{}\" holds NaN", row, name);
  }
  return values;
} catch (...) {
  rethrow_as_error(kReadLogits);
}

std::vector<float> Logits::log_probabilities(std::span<const TokenId> tokens, std::size_t row) const
    try {
  (void)row_of_run(row);  // where there are no tokens, too
  std::vector<RowToken> of_row;
  of_row.reserve(tokens.size());
  for (const TokenId token : tokens) {
    of_row.push_back({row, token});
  }
  return log_probabilities(of_row);
} catch (...) {
  rethrow_as_error(kReadLogits);
}

std::vector<float> Logits::log_probabilities(std::span<const RowToken> tokens) const try {
  std::vector<RowToken> of_run;
  of_run.reserve(tokens.size());
  for (const auto& [row, token] : tokens) {
    if (token < 0 || token >= static_cast<TokenId>(vocab_size())) {
      throw_error(ErrorCode::token_out_of_range,
                  "the log-probability of token {} was asked for, must be in [0, {}), the model's "
                  "vocabulary",
                  token, vocab_size());
    }
    of_run.push_back({row_of_run(row), token});
  }
  std::vector<float> found(tokens.size());
  lease_->step().log_probabilities(of_run, found);
  return found;
} catch (...) {
  rethrow_as_error(kReadLogits);
}

double Logits::log_sum_exp(std::size_t row, double temperature) const {
  return log_sum_over(row, temperature, nullptr);
}

double Logits::log_sum_exp(std::size_t row, double temperature, const TokenMask& allowed) const {
  check_mask(allowed, vocab_size());
  return log_sum_over(row, temperature, &allowed);
}

double Logits::log_sum_over(std::size_t row, double temperature, const TokenMask* allowed) const
    try {
  if (!(temperature > 0) || std::isinf(temperature)) {
    throw_error(ErrorCode::invalid_argument,
                "the sum over a row was asked for at temperature {}, must be above 0 and finite",
                temperature);
  }
  const std::size_t of_run = row_of_run(row);
  if (allowed != nullptr && allowed->count() == 0) {
    return -std::numeric_limits<double>::infinity();
  }
  return lease_->step().log_sum_exp(temperature, of_run, allowed);
} catch (...) {
  rethrow_as_error(kReadLogits);
}

std::vector<TokenScore> Logits::top_k(std::size_t k, std::size_t row) const try {
  return lease_->step().top_k(std::min(k, vocab_size()), row_of_run(row), nullptr);
} catch (...) {
  rethrow_as_error(kReadLogits);
}

std::vector<TokenScore> Logits::top_k(std::size_t k, std::size_t row,
                                      const TokenMask& allowed) const try {
  check_mask(allowed, vocab_size());
  return lease_->step().top_k(std::min(k, allowed.count()), row_of_run(row), &allowed);
} catch (...) {
  rethrow_as_error(kReadLogits);
}

}  // namespace kvcache
