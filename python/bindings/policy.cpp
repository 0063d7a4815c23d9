// Policy and value of one model over game records.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/sequence_object.hpp"
#include "bindings/tokens.hpp"
#include "bindings/tree_object.hpp"
#include "bindings/use.hpp"
#include "bindings/values.hpp"
#include "kvcache/neural_policy.hpp"

namespace kvcache::python {
namespace {

/// A policy and who uses it. A turn is what lies between two changes: a question is answered in the
/// turn that it began, and no two turns of any policies have one number.
struct PolicyObject {
  explicit PolicyObject(NeuralPolicy made) : policy(std::move(made)) {}

  /// Calls with the policy, which it changes.
  template <typename Function>
  auto change(Function&& function) {
    const Changing changing(use, "policy");
    turn = next_turn();
    return std::forward<Function>(function)(policy);
  }

  static std::uint64_t next_turn() noexcept {
    static std::atomic<std::uint64_t> last = 0;
    return ++last;
  }

  NeuralPolicy policy;
  Use use;
  std::uint64_t turn = next_turn();
};

struct QuestionObject {
  PolicyQuestion question;
  std::uint64_t turn;
};

MoveScores evaluate_moves(PolicyObject& object, const nb::object& moves, bool with_value) {
  const std::vector<std::vector<TokenId>> tokens = to_token_lists(moves, "moves");
  return object.change([&](NeuralPolicy& policy) {
    const Unlocked released;
    return policy.evaluate(tokens, with_value);
  });
}

QuestionObject ask(PolicyObject& object, const nb::object& moves, bool with_value) {
  const std::vector<std::vector<TokenId>> tokens = to_token_lists(moves, "moves");
  return object.change([&](NeuralPolicy& policy) {
    const Unlocked released;
    return QuestionObject{policy.ask(tokens, with_value), object.turn};
  });
}

MoveScores answer_question(PolicyObject& object, const QuestionObject& asked,
                           const TreeObject* evaluation) {
  if (evaluation == nullptr) {
    throw_error(ErrorCode::invalid_argument,
                "the question's answer has no tree, as those of the result cache; ask without a "
                "cache_key, or with skip_cache");
  }
  const std::shared_ptr<const TreeEvaluation> tree = evaluation->share();
  const Changing changing(object.use, "policy");
  if (asked.turn != object.turn) {
    throw_error(ErrorCode::invalid_argument,
                "the question was asked of another policy, or before this one was asked again, "
                "answered or changed; ask it again");
  }
  if (tree->logits().rows() != asked.question.nodes.size()) {
    throw_error(ErrorCode::invalid_argument,
                "the evaluation has {} rows, must be of the question's tree and its {} nodes",
                tree->logits().rows(), asked.question.nodes.size());
  }
  const Unlocked released;
  MoveScores scores = object.policy.answer(asked.question, *tree);
  object.turn = PolicyObject::next_turn();
  return scores;
}

}  // namespace

void bind_policy(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<MoveScores>(module, "MoveScores", "What a model thinks of the moves of a position.")
      .def_prop_ro(
          "log_probabilities",
          [](nb::handle self) {
            return to_numpy_view(nb::cast<const MoveScores&>(self).log_probabilities, self);
          },
          nb::sig("def log_probabilities(self) -> numpy.typing.NDArray[numpy.float32]"),
          "Of each move, in the order given: log p(move | record), over the whole vocabulary,\n"
          "[moves].")
      .def_prop_ro(
          "priors",
          [](nb::handle self) {
            return to_numpy_view(nb::cast<const MoveScores&>(self).priors, self);
          },
          nb::sig("def priors(self) -> numpy.typing.NDArray[numpy.float32]"),
          "The same as probabilities, normalised over the moves that were given, [moves].")
      .def_ro("value", &MoveScores::value,
              "The output \"value\" behind the record; None where there is none, or it was not\n"
              "asked for.");

  nb::class_<QuestionObject>(
      module, "PolicyQuestion",
      "What a policy wants to have evaluated: EvaluateRequest(policy.sequence, *question.tree,\n"
      "question.nodes), or an element of kvcache.evaluate() of these.")
      .def_prop_ro(
          "tree",
          [](const QuestionObject& asked) {
            return std::pair(asked.question.tree.tokens, asked.question.tree.parents);
          },
          "Tokens and parents.")
      .def_prop_ro(
          "nodes",
          [](const QuestionObject& asked) {
            std::vector<std::int64_t> nodes;
            for (const std::size_t node : asked.question.nodes) {
              nodes.push_back(node == TokenTree::kPrefix ? -1 : static_cast<std::int64_t>(node));
            }
            return nodes;
          },
          "Whose logits are needed; -1: those that follow the sequence.");

  nb::class_<PolicyObject>(
      module, "Policy",
      "A game record as tokens, of whose positions a policy is asked. What was computed of it\n"
      "stays in the cache: a position costs the tokens of its last move and of the moves that\n"
      "are asked for, in one run. One thread at a time; forks share what they have in common.\n\n"
      "Source: kvcache::NeuralPolicy in include/kvcache/neural_policy.hpp, docs/POLICY.md.")
      .def(
          "__init__",
          [](PolicyObject* self, const SharedModelInferencer& inferencer, const nb::object& record,
             TokenId value_token) {
            new (self)
                PolicyObject(NeuralPolicy(inferencer, to_tokens(record, "record"), value_token));
          },
          "inferencer"_a, "record"_a, "value_token"_a = SharedModelInferencer::kValueToken,
          nb::sig("def __init__(self, inferencer: SharedModelInferencer, record: " KVCACHE_PY_TOKENS
                  ", value_token: int = 3) -> None"),
          "Args:\n    record: the tokens so far, at least one. Nothing is computed yet.\n\n"
          "Raises:\n    Error: empty_input, token_out_of_range, context_full.")
      .def("evaluate", &evaluate_moves, "moves"_a, "with_value"_a = true,
           nb::sig("def evaluate(self, moves: collections.abc.Sequence[" KVCACHE_PY_TOKENS
                   "], with_value: bool = True) -> MoveScores"),
           "Log-probabilities and priors of moves, each the tokens that it would append to the\n"
           "record, and the value, by one run of the model.\n\n"
           "Raises:\n    Error: empty_input, invalid_argument, and as Sequence.evaluate. The "
           "policy is\n"
           "        then as it was.")
      .def("ask", &ask, "moves"_a, "with_value"_a = true,
           nb::sig("def ask(self, moves: collections.abc.Sequence[" KVCACHE_PY_TOKENS
                   "], with_value: bool = True) -> PolicyQuestion"),
           "The first half of evaluate(), for who runs the questions of many positions together:\n"
           "with an Evaluator, or kvcache.evaluate().\n\n"
           "Raises:\n    Error: as evaluate().")
      .def("answer", &answer_question, "question"_a, nb::arg("evaluation").none(),
           nb::sig("def answer(self, question: PolicyQuestion, evaluation: TreeEvaluation | None) "
                   "-> MoveScores"),
           "The second half: reads the evaluation of the question's tree, and keeps in the cache\n"
           "what of the record it computed. Between the two the policy is not used otherwise.\n\n"
           "Raises:\n    Error: invalid_argument where the question is not the last thing that "
           "this\n"
           "        policy was asked, or the evaluation is of another tree, or None; as\n"
           "        Sequence.commit. The policy is then as it was.")
      .def_prop_ro(
          "sequence",
          [](PolicyObject& object) {
            const Reading reading(object.use, "policy");
            return SequenceObject(object.policy.sequence().fork());
          },
          nb::sig("def sequence(self) -> Sequence"),
          "What a question's tree is evaluated on: a fork.")
      .def(
          "play",
          [](PolicyObject& object, const nb::object& tokens) {
            const std::vector<TokenId> played = to_tokens(tokens);
            object.change([&](NeuralPolicy& policy) { policy.play(played); });
          },
          "tokens"_a, nb::sig("def play(self, tokens: " KVCACHE_PY_TOKENS ") -> None"),
          "Appends tokens to the record. They are computed with the next position that is asked\n"
          "for.\n\nRaises:\n    Error: empty_input, token_out_of_range, context_full.")
      .def(
          "take_back",
          [](PolicyObject& object, std::size_t length) {
            object.change([&](NeuralPolicy& policy) { policy.take_back(length); });
          },
          "length"_a,
          "Shortens the record to its first `length` tokens.\n\n"
          "Raises:\n    Error: invalid_argument when `length` is 0 or above the record's.")
      .def(
          "fork",
          [](PolicyObject& object) {
            const Reading reading(object.use, "policy");
            return std::make_unique<PolicyObject>(object.policy.fork());
          },
          nb::sig("def fork(self) -> Policy"),
          "The same record; what is computed of it is shared, not copied.")
      .def_prop_ro(
          "record",
          [](PolicyObject& object) {
            const Reading reading(object.use, "policy");
            return nb::cast(to_array(object.policy.record()));
          },
          nb::sig("def record(self) -> numpy.typing.NDArray[numpy.int64]"),
          "The tokens so far, int64: a copy.")
      .def_prop_ro(
          "computed",
          [](PolicyObject& object) {
            const Reading reading(object.use, "policy");
            return object.policy.computed();
          },
          "How many tokens of the record are in the cache.");
}

}  // namespace kvcache::python
