// A text that goes on, token by token, as an iterator; several at once.

#include "kvcache/generate.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/constraint_object.hpp"
#include "bindings/drafter_object.hpp"
#include "bindings/generation_object.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/python_call.hpp"
#include "bindings/sequence_object.hpp"
#include "bindings/tokens.hpp"
#include "bindings/windowed_object.hpp"

namespace kvcache::python {
namespace {

TextOptions to_text_options(std::size_t max_new_tokens, const SamplingOptions& sampling,
                            const nb::object& stop_tokens, std::vector<std::string> stop_strings,
                            std::optional<Tokenizer> tokenizer,
                            std::optional<std::size_t> log_probabilities,
                            const nb::object& constraint) {
  TextOptions made;
  made.options.max_new_tokens = max_new_tokens;
  made.options.sampling = sampling;
  made.options.stop_tokens = to_tokens(stop_tokens, "stop_tokens");
  made.options.stop_strings = std::move(stop_strings);
  made.options.log_probabilities = log_probabilities;
  made.tokenizer = std::move(tokenizer);
  made.constraint = to_constraint(constraint);
  return made;
}

std::unique_ptr<GenerationObject> begin_guessing(const SequenceObject& object,
                                                 std::vector<TokenId> prompt, TextOptions text,
                                                 const nb::object& drafter,
                                                 std::size_t max_drafts) {
  const std::shared_ptr<Sequence> sequence = object.get();
  BorrowedDrafter borrowed = to_drafter(drafter);
  std::vector<LongChange> changes;
  changes.emplace_back(object.use(), SequenceNames::kName);
  if (borrowed.use != nullptr) {
    changes.emplace_back(borrowed.use, "drafter");
  }
  return std::make_unique<GenerationObject>(
      std::move(changes), std::move(text), true,
      [sequence, prompt = std::move(prompt), guesses = std::move(borrowed.drafter), max_drafts](
          const GenerateOptions& options, SpeculationStats& stats,
          const NewTokenCallback& on_token) {
        return generate(*sequence, prompt, options, *guesses, {max_drafts}, &stats, on_token);
      });
}

/// On a SequenceObject or a WindowedObject.
template <typename Object>
std::unique_ptr<GenerationObject> begin_generation(const Object& object,
                                                   std::vector<TokenId> prompt, TextOptions text,
                                                   std::string_view name) {
  const auto sequence = object.get();
  std::vector<LongChange> changes;
  changes.emplace_back(object.use(), name);
  return std::make_unique<GenerationObject>(
      std::move(changes), std::move(text), false,
      [sequence, prompt = std::move(prompt)](const GenerateOptions& options, SpeculationStats&,
                                             const NewTokenCallback& on_token) {
        return generate(*sequence, prompt, options, on_token);
      });
}

std::unique_ptr<GenerationObject> begin(const nb::object& on, const nb::object& prompt,
                                        std::size_t max_new_tokens, const SamplingOptions& sampling,
                                        const nb::object& stop_tokens,
                                        std::vector<std::string> stop_strings,
                                        std::optional<Tokenizer> tokenizer,
                                        std::optional<std::size_t> log_probabilities,
                                        const nb::object& constraint, const nb::object& drafter,
                                        std::size_t max_drafts) {
  std::vector<TokenId> tokens = to_tokens(prompt, "prompt");
  TextOptions text = to_text_options(max_new_tokens, sampling, stop_tokens, std::move(stop_strings),
                                     std::move(tokenizer), log_probabilities, constraint);
  if (const WindowedObject* window = nullptr; nb::try_cast(on, window) && window != nullptr) {
    if (!drafter.is_none()) {
      throw_error(ErrorCode::invalid_argument,
                  "a drafter was given with a windowed sequence; guesses are of a text within the "
                  "model's positions, a Sequence");
    }
    return begin_generation(*window, std::move(tokens), std::move(text), WindowedNames::kName);
  }
  const SequenceObject* object = nullptr;
  if (!nb::try_cast(on, object) || object == nullptr) {
    throw nb::type_error(fmt::format("sequence must be a Sequence or WindowedSequence, not {}",
                                     nb::type_name(on.type()).c_str())
                             .c_str());
  }
  return drafter.is_none()
             ? begin_generation(*object, std::move(tokens), std::move(text), SequenceNames::kName)
             : begin_guessing(*object, std::move(tokens), std::move(text), drafter, max_drafts);
}

std::vector<Generated> samples(SequenceObject& object, const nb::object& prompt, std::size_t count,
                               std::size_t max_new_tokens, const SamplingOptions& sampling,
                               const nb::object& stop_tokens, std::vector<std::string> stop_strings,
                               std::optional<Tokenizer> tokenizer,
                               std::optional<std::size_t> log_probabilities,
                               const nb::object& constraint) {
  const std::vector<TokenId> tokens = to_tokens(prompt, "prompt");
  TextOptions text = to_text_options(max_new_tokens, sampling, stop_tokens, std::move(stop_strings),
                                     std::move(tokenizer), log_probabilities, constraint);
  return object.change([&](Sequence& sequence) {
    const Unlocked released;
    return generate_samples(sequence, tokens, count, text.get(), [](const NewToken&) {
      check_signals();
      return true;
    });
  });
}

#define KVCACHE_PY_GENERATE_OPTIONS                                                               \
  "max_new_tokens: int, sampling: SamplingOptions = ..., stop_tokens: " KVCACHE_PY_TOKENS         \
  " = (), stop_strings: collections.abc.Sequence[str] = (), tokenizer: Tokenizer | None = None, " \
  "log_probabilities: int | None = None, "                                                        \
  "constraint: kvcache._interfaces.Constraint | None = None"
#define KVCACHE_PY_GENERATE_ARGS                                                       \
  "max_new_tokens"_a, "sampling"_a = SamplingOptions(), "stop_tokens"_a = nb::tuple(), \
                      "stop_strings"_a = nb::tuple(), "tokenizer"_a = nb::none(),      \
                      "log_probabilities"_a = nb::none(), "constraint"_a = nb::none()

constexpr const char* kGenerateDoc =
    "Appends `prompt` to the sequence and then draws up to `max_new_tokens` tokens: an iterator\n"
    "of them, each computed when it is asked for. The last of them is not in the sequence.\n"
    "Without a prompt, the sequence's own text goes on. The sequence, and a drafter of the\n"
    "library's, are in use until the iterator has ended or is closed.\n\n"
    "Args:\n"
    "    stop_tokens: what ends a text; among the new tokens, and nothing in the text.\n"
    "    stop_strings: what ends a text, which ends before it; needs a tokenizer.\n"
    "    tokenizer: whose text of the new tokens is wanted.\n"
    "    log_probabilities: so many of the most probable tokens beside each new one's own\n"
    "        log-probability; None: neither.\n"
    "    constraint: what the text has to be: one_of(), of a GrammarCompiler, or your own. It is\n"
    "        forked now, and stays as it is.\n"
    "    drafter: guesses how the text goes on, which stays the same and comes sooner:\n"
    "        PromptLookup, DraftModel, or your own. Not of a WindowedSequence.\n"
    "    max_drafts: the most nodes of a tree of guesses.\n\n"
    "Raises:\n"
    "    Error: invalid_argument when the sequence or the drafter is in use. From the iterator:\n"
    "        context_full before anything is computed; invalid_argument, token_out_of_range;\n"
    "        no_token_allowed where a constraint leaves none; as Sequence.extend and\n"
    "        Sampler.sample. A sequence is then as it was; a windowed one keeps what was\n"
    "        appended. What a constraint or drafter of your own raises comes out as it is.\n\n"
    "Source: include/kvcache/generate.hpp, include/kvcache/speculation.hpp, docs/SAMPLING.md,\n"
    "docs/CONSTRAINTS.md, docs/SPECULATION.md.";

}  // namespace

void bind_generate(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<GenerationObject>(module, "Generation",
                               "The tokens of a text, as they are asked for; generate() makes one.")
      .def(
          "__iter__", [](const nb::object& self) { return self; },
          nb::sig("def __iter__(self) -> typing.Self"))
      .def("__next__", &GenerationObject::next)
      .def(
          "result", &GenerationObject::result, nb::rv_policy::copy,
          "Lets the text go on to its end, and returns all of it. Where a signal's handler raises\n"
          "meanwhile (KeyboardInterrupt), the sequence is as it was before generate().\n\n"
          "Raises:\n    Error: as generate().")
      .def("close", &GenerationObject::close,
           "Ends the text here; the sequence keeps what it has got. Nothing where it has ended.")
      .def_prop_ro("speculation_stats", &GenerationObject::speculation_stats,
                   "What guessing was worth; None before the text has ended, and without a "
                   "drafter.")
      .def(
          "__enter__", [](const nb::object& self) { return self; },
          nb::sig("def __enter__(self) -> typing.Self"))
      .def(
          "__exit__", [](GenerationObject& object, const nb::args&) { object.close(); },
          nb::sig("def __exit__(self, *exception: object) -> None"));

  module.def(
      "generate", &begin, "sequence"_a, "prompt"_a = nb::tuple(), nb::kw_only(),
      KVCACHE_PY_GENERATE_ARGS, "drafter"_a = nb::none(), "max_drafts"_a = 15,
      nb::sig("def generate(sequence: Sequence | WindowedSequence, prompt: " KVCACHE_PY_TOKENS
              " = (), *, " KVCACHE_PY_GENERATE_OPTIONS
              ", drafter: kvcache._interfaces.Drafter | None = None, max_drafts: int = 15) "
              "-> Generation"),
      kGenerateDoc);
  module.def(
      "generate_samples", &samples, "sequence"_a, "prompt"_a, "count"_a, nb::kw_only(),
      KVCACHE_PY_GENERATE_ARGS,
      nb::sig("def generate_samples(sequence: Sequence, prompt: " KVCACHE_PY_TOKENS
              ", count: int, *, " KVCACHE_PY_GENERATE_OPTIONS ") -> list[Generated]"),
      "`count` texts of one prompt, which is computed once; the sequence then ends with the\n"
      "prompt. Text i is drawn as sample i. Arguments and errors as generate(), and\n"
      "Error invalid_argument for a count of 0.");
  module.def("end_generations", &GenerationObject::end_all);
}

}  // namespace kvcache::python
