// Policy and value of one model, for any number of users.

#include "kvcache/shared_model_inferencer.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/names.hpp"
#include "bindings/tokens.hpp"
#include "bindings/tree_object.hpp"
#include "bindings/tuples.hpp"
#include "bindings/values.hpp"

namespace kvcache::python {
namespace {

constexpr Names<CacheMode, 2> kCacheModes{{{"on", CacheMode::on}, {"off", CacheMode::off}}};

nb::object value_inference(const SharedModelInferencer& inferencer, const nb::object& batch,
                           TokenId value_token) {
  const std::vector<std::vector<TokenId>> lists = to_token_lists(batch, "batch");
  const std::vector<std::span<const TokenId>> spans(lists.begin(), lists.end());
  std::vector<float> values;
  {
    const Unlocked released;
    values = inferencer.value_inference(spans, value_token);
  }
  return to_numpy_values(std::move(values));
}

std::vector<TreeObject> policy_inference(const SharedModelInferencer& inferencer,
                                         const nb::iterable& batch) {
  std::vector<std::vector<TokenId>> prefixes;
  std::vector<TokenTree> trees;
  for (const nb::handle element : batch) {
    const nb::tuple parts = to_tuple(element, "(prefix, tokens, parents)", 3, 3);
    prefixes.push_back(to_tokens(parts[0], "prefix"));
    trees.push_back(to_tree(parts[1], parts[2]));
  }
  std::vector<PolicyInput> inputs;
  for (std::size_t i = 0; i < trees.size(); ++i) {
    inputs.push_back({prefixes[i], &trees[i]});
  }
  const Unlocked released;
  std::vector<TreeObject> evaluated;
  for (TreeEvaluation& tree : inferencer.policy_inference(inputs)) {
    evaluated.emplace_back(std::move(tree));
  }
  return evaluated;
}

}  // namespace

void bind_shared_model_inferencer(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<SharedModelInferencer>(
      module, "SharedModelInferencer",
      "Policy and value of one model, for any number of users and threads.\n\n"
      "Source: include/kvcache/shared_model_inferencer.hpp, docs/POLICY.md.")
      .def(
          "__init__",
          [](SharedModelInferencer* self, const Model& model, std::string_view cache_mode) {
            new (self)
                SharedModelInferencer(model, to_choice(kCacheModes, "cache_mode", cache_mode));
          },
          "model"_a, nb::kw_only(), "cache_mode"_a = "on",
          nb::sig("def __init__(self, model: Model, *, cache_mode: typing.Literal['on', 'off'] = "
                  "'on') -> None"),
          "Args:\n    cache_mode: \"off\" computes every question from its first token on: the "
          "same\n"
          "        numbers, and the difference in time is what the cache gains.")
      .def("value_inference", &value_inference, "batch"_a,
           "value_token"_a = SharedModelInferencer::kValueToken,
           nb::sig("def value_inference(self, batch: collections.abc.Sequence[" KVCACHE_PY_TOKENS
                   "], value_token: int = 3) -> numpy.typing.NDArray[numpy.float32]"),
           "The value of each list of tokens, read at `value_token` behind its last one, all in "
           "one\n"
           "run, [len(batch)].\n\n"
           "Raises:\n    Error: as kvcache.evaluate; invalid_argument where the model has no "
           "output\n"
           "        \"value\".")
      .def("policy_inference", &policy_inference, "batch"_a,
           nb::sig(
               "def policy_inference(self, batch: collections.abc.Iterable[tuple[" KVCACHE_PY_TOKENS
               ", " KVCACHE_PY_TOKENS ", " KVCACHE_PY_TOKENS "]]) -> list[TreeEvaluation]"),
           "The logits after each prefix and after every node of its tree, all in one run. Of\n"
           "element i, row 0 follows the prefix and row 1 + n follows node n,\n"
           "[1 + nodes, vocab_size]. Prefixes that were seen before are computed from where they\n"
           "differ.\n\n"
           "Args:\n    batch: (prefix, tokens, parents) each: of one token and one node at least;\n"
           "        the tree as Sequence.evaluate.\n\n"
           "Raises:\n    Error: as kvcache.evaluate.")
      .def_prop_ro("has_value", &SharedModelInferencer::has_value,
                   "Whether the model has an output \"value\".")
      .def_prop_ro("model", [](const SharedModelInferencer& shared) { return shared.model(); })
      .def_prop_ro(
          "cache_mode",
          [](const SharedModelInferencer& shared) {
            return std::string(name_of(kCacheModes, shared.cache_mode()));
          },
          nb::sig("def cache_mode(self) -> typing.Literal['on', 'off']"))
      .def("prefix_stats", &SharedModelInferencer::prefix_stats,
           "What is remembered of prefixes; zeros with cache_mode \"off\".");
}

}  // namespace kvcache::python
