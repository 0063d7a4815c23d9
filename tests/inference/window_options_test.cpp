#include "inference/window_options.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "support/models.hpp"

namespace kvcache::inference {
namespace {

ModelInfo model_of(std::size_t positions, bool relative) {
  ModelInfo info;
  info.model_type = relative ? "llama" : "gpt2";
  info.max_seq_len = positions;
  info.relative_positions = relative;
  return info;
}

void expect_options(const WindowOptions& found, const WindowOptions& expected) {
  EXPECT_EQ(found.size, expected.size);
  EXPECT_EQ(found.stride, expected.stride);
  EXPECT_EQ(found.sinks, expected.sinks);
  EXPECT_EQ(found.sliding, expected.sliding);
}

TEST(WindowOptions, KeepWhereTheModelAllowsIt) {
  const ModelInfo llama = model_of(1024, true);
  expect_options(resolve({}, llama, 32),
                 {.size = 128, .stride = 32, .sinks = 0, .sliding = Sliding::keep});
  expect_options(resolve({.size = 500, .stride = 100, .sinks = 4}, llama, 32),
                 {.size = 500, .stride = 96, .sinks = 4, .sliding = Sliding::keep});
  expect_options(resolve({.size = 500, .stride = 3}, llama, 32),
                 {.size = 500, .stride = 32, .sinks = 0, .sliding = Sliding::keep});
  expect_options(resolve({.sinks = 200}, llama, 32),
                 {.size = 201, .stride = 32, .sinks = 200, .sliding = Sliding::keep});
}

TEST(WindowOptions, EncodeAnewWhereItDoesNot) {
  expect_options(resolve({}, model_of(1024, false), 32),
                 {.size = 512, .stride = 512, .sinks = 0, .sliding = Sliding::encode_anew});
  expect_options(resolve({.size = 512}, model_of(1023, false), 32),
                 {.size = 512, .stride = 511, .sinks = 0, .sliding = Sliding::encode_anew});
  // No room to slide even once without encoding anew.
  expect_options(resolve({.size = 512, .stride = 512, .sinks = 4}, model_of(1024, true), 32),
                 {.size = 512, .stride = 512, .sinks = 4, .sliding = Sliding::encode_anew});
  expect_options(resolve({}, model_of(64, true), 32),
                 {.size = 32, .stride = 32, .sinks = 0, .sliding = Sliding::encode_anew});
  expect_options(
      resolve({.size = 8, .stride = 8, .sliding = Sliding::encode_anew}, model_of(1024, true), 32),
      {.size = 8, .stride = 8, .sinks = 0, .sliding = Sliding::encode_anew});
}

TEST(WindowOptions, RefuseWhatCannotBe) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  const auto refused = [](const char* part, const WindowOptions& options, const ModelInfo& model) {
    test::expect_error(ErrorCode::invalid_argument, part,
                       [&] { static_cast<void>(resolve(options, model, 32)); });
  };
  const ModelInfo llama = model_of(1024, true);
  refused("gpt2 has learned positions", {.sliding = Sliding::keep}, model_of(1024, false));
  refused("at most the model's 1024 positions, and the stride at least 1, in whole blocks",
          {.size = 1000, .stride = 1, .sliding = Sliding::keep}, llama);
  for (const Sliding sliding : {Sliding::by_model, Sliding::keep, Sliding::encode_anew}) {
    refused("does not fit", {.size = kMost, .sliding = sliding}, llama);
    refused("does not fit", {.size = 100, .stride = kMost, .sliding = sliding}, llama);
    refused("sinks leave no room", {.size = 100, .sinks = 100, .sliding = sliding}, llama);
    refused("sinks leave no room", {.sinks = kMost, .sliding = sliding}, llama);
  }
}

}  // namespace
}  // namespace kvcache::inference
