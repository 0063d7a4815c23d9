#include "report/agreement.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace kvcache::report {
namespace {

/// The largest logit is the third, the largest magnitude the first.
const std::vector<float> reference_row{-4, 1, 3, 2};

Agreement float32_agreement() { return {.tolerance = logit_tolerance(ModelInfo{})}; }

TEST(Agreement, AllowsAStepOfTheCacheWhereThatIsNarrower) {
  ModelInfo model;
  EXPECT_EQ(logit_tolerance(model), 1e-4);
  model.cache_dtype = DataType::float16;
  EXPECT_EQ(logit_tolerance(model), std::ldexp(1.0, -10));
  model.cache_dtype = DataType::bfloat16;
  EXPECT_EQ(logit_tolerance(model), std::ldexp(1.0, -7));
  model.cache_dtype = DataType::int8;
  EXPECT_EQ(logit_tolerance(model), std::ldexp(1.0, -6));
  model.cache_dtype = DataType::bfloat16;
  model.dtype = DataType::bfloat16;
  EXPECT_EQ(logit_tolerance(model), 5e-2);
}

TEST(Agreement, CountsTheSameChoiceAsEqual) {
  Agreement agreement = float32_agreement();
  agreement.compare_token(2, reference_row);
  EXPECT_EQ(agreement.equal, 1U);
  EXPECT_TRUE(agreement.holds());
  EXPECT_EQ(agreement.describe(), "1 of 1 tokens equal");
}

TEST(Agreement, DoesNotHoldWithAnotherChoice) {
  Agreement agreement = float32_agreement();
  agreement.compare_token(2, reference_row);
  agreement.compare_token(3, reference_row);
  EXPECT_EQ(agreement.different, 1U);
  EXPECT_FALSE(agreement.holds());
  EXPECT_EQ(agreement.describe(), "1 of 2 tokens equal, 1 DIFFERENT");
}

TEST(Agreement, CountsAndShowsTies) {
  Agreement agreement = float32_agreement();
  agreement.compare_token(1, std::vector<float>{-4, 3.0001F, 3.0002F});  // limit: 4e-4
  EXPECT_EQ(agreement.ties, 1U);
  EXPECT_TRUE(agreement.holds());
  EXPECT_EQ(agreement.describe(), "0 of 1 tokens equal, 1 tie by rounding");
}

TEST(Agreement, TakesTheLargestDifferenceAsAShareOfTheLargestLogit) {
  Agreement agreement = float32_agreement();
  agreement.compare_token(2, reference_row);
  agreement.compare_logits(std::vector<float>{-4, 1, 3, 2.5F}, reference_row);
  agreement.compare_logits(reference_row, reference_row);
  EXPECT_DOUBLE_EQ(agreement.largest_logit_difference, 0.125);
  EXPECT_FALSE(agreement.holds());
}

TEST(Agreement, DoesNotHoldWithNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> broken{-4, nan, 3, 2};
  for (const auto& [logits, reference] :
       {std::pair(broken, reference_row), {reference_row, broken}}) {
    Agreement agreement = float32_agreement();
    agreement.compare_token(2, reference_row);
    agreement.compare_logits(logits, reference);
    EXPECT_FALSE(agreement.holds());
  }
}

TEST(Agreement, CountsATokenThatIsNoneAsDifferent) {
  Agreement agreement = float32_agreement();
  agreement.compare_token(4, reference_row);
  agreement.compare_token(-1, reference_row);
  agreement.compare_token(std::numeric_limits<std::int32_t>::max(), reference_row);
  EXPECT_EQ(agreement.different, 3U);
}

TEST(Agreement, CountsAnyTokenAsDifferentWhereTheReferenceHoldsNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t at = 0; at < reference_row.size(); ++at) {
    std::vector<float> broken = reference_row;
    broken[at] = nan;
    for (TokenId token = 0; token < 4; ++token) {
      Agreement agreement = float32_agreement();
      agreement.compare_token(token, broken);
      EXPECT_EQ(agreement.different, 1U);
    }
  }
}

TEST(Agreement, DoesNotHoldWhenNothingWasCompared) { EXPECT_FALSE(float32_agreement().holds()); }

}  // namespace
}  // namespace kvcache::report
