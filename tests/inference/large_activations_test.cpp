// Weights of 64 times the size: scores far beyond what 16 bits hold, and still no NaN.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "model/digest.hpp"
#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

constexpr unsigned kDoublings = 6;

/// Adds to the exponent of every element that is not zero or subnormal.
template <typename Bits>
void scale(std::string& bytes, unsigned exponent_at, unsigned exponent_bits) {
  const Bits exponent_mask = static_cast<Bits>(((1U << exponent_bits) - 1U) << exponent_at);
  for (std::size_t at = 0; at + sizeof(Bits) <= bytes.size(); at += sizeof(Bits)) {
    Bits element{};
    std::memcpy(&element, bytes.data() + at, sizeof(Bits));
    if ((element & exponent_mask) != 0) {
      element = static_cast<Bits>(element + (kDoublings << exponent_at));
      std::memcpy(bytes.data() + at, &element, sizeof(Bits));
    }
  }
}

void scale_weights(const test::fs::path& model) {
  const test::fs::path file = model / "gpt2_with_cache.onnx.data";
  std::ifstream in(file, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  in.close();
  if (test::models_dtype() == "float32") {
    scale<std::uint32_t>(bytes, 23, 8);
  } else if (test::models_dtype() == "float16") {
    scale<std::uint16_t>(bytes, 10, 5);
  } else {
    scale<std::uint16_t>(bytes, 7, 8);
  }
  std::ofstream(file, std::ios::binary) << bytes;

  std::ifstream described(model / "config.json");
  nlohmann::json config = nlohmann::json::parse(described);
  described.close();
  for (nlohmann::json& described_file : config["files"]) {
    if (described_file["name"] == file.filename().string()) {
      described_file["xxh3_128"] = model::file_digest(file);
    }
  }
  std::ofstream(model / "config.json") << config;
}

TEST(LargeActivations, GiveFiniteLogits) {
  for (const std::string& name : test::golden_names()) {
    SCOPED_TRACE(name);
    const test::TemporaryDirectory directory;
    test::fs::copy(test::model_path(name), directory.path() / "model",
                   test::fs::copy_options::recursive);
    scale_weights(directory.path() / "model");
    const Model model = Model::load(directory.path() / "model");
    test::for_random_cases(2, [&](test::Random& random) {
      // All at once and one by one: the kernels of many tokens, and those of few.
      const std::vector<TokenId> tokens = test::random_tokens(random, model.info(), 30);
      Sequence at_once = model.new_sequence();
      const Logits all = at_once.extend(tokens, LogitsFor::all);
      Sequence one_by_one = model.new_sequence();
      std::set<float> values;
      const auto check = [&](std::span<const float> row) {
        for (const float logit : row) {
          ASSERT_TRUE(std::isfinite(logit));
          values.insert(logit);
        }
      };
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        check(all.row(i));
        check(one_by_one.extend(std::span(tokens).subspan(i, 1)).row(0));
      }
      EXPECT_GT(values.size(), 10U) << "the weights were scaled away";
    });
  }
}

}  // namespace
}  // namespace kvcache
