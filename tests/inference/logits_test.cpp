#include "kvcache/logits.hpp"

#include <gtest/gtest.h>

#include "support/models.hpp"

namespace kvcache {
namespace {

class LogitsOfAModel : public testing::Test {
 protected:
  Model model_ = Model::load(test::model_path(test::golden_names().front()));
  Logits logits_ = model_.forward_without_cache(std::vector<TokenId>{1, 2, 3}, LogitsFor::all);
};

TEST_F(LogitsOfAModel, ArgmaxIsTheBestOfTopK) {
  for (std::size_t row = 0; row < logits_.rows(); ++row) {
    const std::vector<TokenScore> best = logits_.top_k(5, row);
    ASSERT_EQ(best.size(), 5U);
    EXPECT_EQ(best[0].token, logits_.argmax(row));
    for (std::size_t i = 1; i < best.size(); ++i) {
      EXPECT_GE(best[i - 1].logit, best[i].logit);
      EXPECT_EQ(best[i].logit, logits_.row(row)[static_cast<std::size_t>(best[i].token)]);
    }
  }
}

TEST_F(LogitsOfAModel, TopKStopsAtTheVocabulary) {
  EXPECT_EQ(logits_.top_k(1'000'000, 0).size(), model_.info().vocab_size);
  EXPECT_TRUE(logits_.top_k(0, 0).empty());
}

TEST_F(LogitsOfAModel, RefusesARowThatIsNotThere) {
  test::expect_error(ErrorCode::invalid_argument, "logits row 3 was asked for, there are 3",
                     [&] { (void)logits_.row(3); });
}

}  // namespace
}  // namespace kvcache
