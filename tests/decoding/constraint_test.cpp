#include "kvcache/constraint.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "decoding/random_choices.hpp"
#include "kvcache/choices.hpp"
#include "support/models.hpp"

namespace kvcache {
namespace {

using test::allowed_by;
using test::expect_error;
using test::Random;
using test::random_texts;
using test::random_vocabulary;

TEST(TokenMaskTest, IsASet) {
  TokenMask mask(70);
  mask.allow(0);
  mask.allow(69);
  mask.allow(32);
  EXPECT_EQ(mask.tokens(2), (std::vector<TokenId>{0, 32}));
  mask.words()[2] |= ~0U;  // bits behind the last token mean nothing
  EXPECT_EQ(mask.count(), 8U);
  EXPECT_FALSE(mask.allows(70));
  EXPECT_FALSE(mask.allows(-1));
  mask.forbid(69);
  EXPECT_FALSE(mask.allows(69));
  mask.forbid_all();
  EXPECT_EQ(mask.count(), 0U);
  expect_error(ErrorCode::token_out_of_range, "token 70 was to be allowed",
               [&] { mask.allow(70); });
}

TEST(ConstraintTrees, AreMaskedAsTheirPaths) {
  test::for_random_cases(200, [&](Random& random) {
    const auto tokens = random_vocabulary(random, true);
    const auto constraint = one_of(random_texts(random), TokenBytes(tokens));
    TokenTree tree;
    for (std::int64_t node = 0; node < random.integer(0, 30); ++node) {
      tree.parents.push_back(static_cast<std::int32_t>(random.integer(-1, node - 1)));
      tree.tokens.push_back(random.integer(0, std::ssize(tokens) - 1));
    }
    const std::vector<TokenMask> masks = tree_masks(*constraint, tree);
    ASSERT_EQ(masks.size(), tree.tokens.size());
    std::vector<bool> allowed(tree.tokens.size());
    TokenTree expected;
    std::vector<std::int32_t> place(tree.tokens.size());
    for (std::size_t node = 0; node < tree.tokens.size(); ++node) {
      std::vector<TokenId> path;
      for (auto at = static_cast<std::int32_t>(node); at >= 0;
           at = tree.parents[static_cast<std::size_t>(at)]) {
        path.insert(path.begin(), tree.tokens[static_cast<std::size_t>(at)]);
      }
      const auto alone = constraint->fork();
      allowed[node] =
          std::ranges::all_of(path, [&](TokenId token) { return alone->accept(token); });
      EXPECT_EQ(masks[node].tokens(tokens.size()),
                allowed[node] ? allowed_by(*alone) : std::vector<TokenId>());
      if (allowed[node]) {
        place[node] = static_cast<std::int32_t>(expected.tokens.size());
        const std::int32_t parent = tree.parents[node];
        expected.parents.push_back(parent < 0 ? -1 : place[static_cast<std::size_t>(parent)]);
        expected.tokens.push_back(tree.tokens[node]);
      }
    }
    const TokenTree part = allowed_part(*constraint, tree);
    EXPECT_EQ(part.tokens, expected.tokens);
    EXPECT_EQ(part.parents, expected.parents);
    EXPECT_EQ(allowed_by(*constraint), allowed_by(*constraint->fork()));
  });
}

TEST(ConstraintTrees, RefuseWhatIsNone) {
  const auto constraint = one_of(std::vector<std::vector<TokenId>>{{1, 2}}, 262);
  const auto refused = [&](ErrorCode code, const char* message, const TokenTree& tree) {
    expect_error(code, message, [&] { static_cast<void>(tree_masks(*constraint, tree)); });
    expect_error(code, message, [&] { static_cast<void>(allowed_part(*constraint, tree)); });
  };
  refused(ErrorCode::invalid_argument, "1 tokens and 0 parents", {.tokens = {1}, .parents = {}});
  refused(ErrorCode::invalid_argument, "the parent 0", {.tokens = {1}, .parents = {0}});
  refused(ErrorCode::token_out_of_range, "node 0 of a tree is token 262",
          {.tokens = {262}, .parents = {-1}});
}

}  // namespace
}  // namespace kvcache
