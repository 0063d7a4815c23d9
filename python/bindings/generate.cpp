// A text that goes on, token by token, as an iterator; several at once.

#include "kvcache/generate.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/generation.hpp"
#include "bindings/sequence_object.hpp"
#include "bindings/tokens.hpp"

namespace kvcache::python {
namespace {

/// What Python's Generation holds: the sequence is in use until it has ended.
class GenerationObject {
 private:
  /// One thread asks at a time, and lets go of the sequence where it was the last time.
  template <typename Function>
  decltype(auto) asked(Function&& function) {
    const Changing asking(asked_, "generation");
    const nb::gil_scoped_release released;
    struct LetGo {
      GenerationObject& object;
      ~LetGo() {
        if (object.generation_.ended()) {
          object.let_go();
        }
      }
    };
    const LetGo let_go{*this};
    return std::forward<Function>(function)();
  }

  void let_go() noexcept {
    if (!let_go_.exchange(true)) {
      use_->end_change();
    }
  }

 public:
  GenerationObject(const SequenceObject& object, std::vector<TokenId> prompt,
                   GenerateOptions options, std::optional<Tokenizer> tokenizer)
      : sequence_(object.get()),
        use_(object.use()),
        prompt_(std::move(prompt)),
        options_(std::move(options)),
        tokenizer_(std::move(tokenizer)),
        generation_(
            [this](const NewTokenCallback& on_token) {
              return generate(*sequence_, prompt_, options_, on_token);
            },
            [] {
              const nb::gil_scoped_acquire acquired;
              if (PyErr_CheckSignals() != 0) {
                throw nb::python_error();
              }
            }) {
    options_.tokenizer = tokenizer_ ? &*tokenizer_ : nullptr;
    use_->begin_change("sequence");
  }
  ~GenerationObject() { end(); }
  GenerationObject(const GenerationObject&) = delete;
  GenerationObject& operator=(const GenerationObject&) = delete;

  Generation::Token next() {
    std::optional<Generation::Token> token = asked([&] { return generation_.next(); });
    if (!token) {
      throw nb::stop_iteration();
    }
    return std::move(*token);
  }

  const Generated& result() {
    return asked([&]() -> const Generated& { return generation_.result(); });
  }

  void close() {
    const Changing asking(asked_, "generation");
    end();
  }

 private:
  void end() noexcept {
    const nb::gil_scoped_release released;
    generation_.stop();
    let_go();
  }

  std::shared_ptr<Sequence> sequence_;
  std::shared_ptr<Use> use_;
  std::vector<TokenId> prompt_;
  GenerateOptions options_;
  std::optional<Tokenizer> tokenizer_;
  Use asked_;
  std::atomic<bool> let_go_ = false;
  Generation generation_;
};

GenerateOptions to_options(std::size_t max_new_tokens, const SamplingOptions& sampling,
                           const nb::object& stop_tokens, std::vector<std::string> stop_strings,
                           std::optional<std::size_t> log_probabilities) {
  GenerateOptions options;
  options.max_new_tokens = max_new_tokens;
  options.sampling = sampling;
  options.stop_tokens = to_tokens(stop_tokens, "stop_tokens");
  options.stop_strings = std::move(stop_strings);
  options.log_probabilities = log_probabilities;
  return options;
}

std::unique_ptr<GenerationObject> begin(const SequenceObject& object, const nb::object& prompt,
                                        std::size_t max_new_tokens, const SamplingOptions& sampling,
                                        const nb::object& stop_tokens,
                                        std::vector<std::string> stop_strings,
                                        std::optional<Tokenizer> tokenizer,
                                        std::optional<std::size_t> log_probabilities) {
  return std::make_unique<GenerationObject>(
      object, to_tokens(prompt, "prompt"),
      to_options(max_new_tokens, sampling, stop_tokens, std::move(stop_strings), log_probabilities),
      std::move(tokenizer));
}

std::vector<Generated> samples(SequenceObject& object, const nb::object& prompt, std::size_t count,
                               std::size_t max_new_tokens, const SamplingOptions& sampling,
                               const nb::object& stop_tokens, std::vector<std::string> stop_strings,
                               const std::optional<Tokenizer>& tokenizer,
                               std::optional<std::size_t> log_probabilities) {
  const std::vector<TokenId> tokens = to_tokens(prompt, "prompt");
  GenerateOptions options =
      to_options(max_new_tokens, sampling, stop_tokens, std::move(stop_strings), log_probabilities);
  options.tokenizer = tokenizer ? &*tokenizer : nullptr;
  return object.change([&](Sequence& sequence) {
    const nb::gil_scoped_release released;
    return generate_samples(sequence, tokens, count, options, [](const NewToken&) {
      const nb::gil_scoped_acquire acquired;
      if (PyErr_CheckSignals() != 0) {
        throw nb::python_error();
      }
      return true;
    });
  });
}

#define KVCACHE_PY_GENERATE_OPTIONS                                                               \
  "max_new_tokens: int, sampling: SamplingOptions = ..., stop_tokens: " KVCACHE_PY_TOKENS         \
  " = (), stop_strings: collections.abc.Sequence[str] = (), tokenizer: Tokenizer | None = None, " \
  "log_probabilities: int | None = None"

constexpr const char* kGenerateDoc =
    "Appends `prompt` to the sequence and then draws up to `max_new_tokens` tokens: an iterator\n"
    "of them, each computed when it is asked for. The last of them is not in the sequence.\n"
    "Without a prompt, the sequence's own text goes on. The sequence is in use until the\n"
    "iterator has ended or is closed.\n\n"
    "Args:\n"
    "    stop_tokens: what ends a text; among the new tokens, and nothing in the text.\n"
    "    stop_strings: what ends a text, which ends before it; needs a tokenizer.\n"
    "    tokenizer: whose text of the new tokens is wanted.\n"
    "    log_probabilities: so many of the most probable tokens beside each new one's own\n"
    "        log-probability; None: neither.\n\n"
    "Raises:\n"
    "    Error: from the iterator: context_full before anything is computed; invalid_argument,\n"
    "        token_out_of_range; as Sequence.extend and Sampler.sample. The sequence is then as "
    "it\n"
    "        was.\n\n"
    "Source: include/kvcache/generate.hpp, docs/SAMPLING.md.";

void bind_generated(nb::module_& module) {
  nb::class_<TokenLogProbabilities>(module, "TokenLogProbabilities",
                                    "How probable a new token was to the model, before biases,\n"
                                    "penalties, temperature and cuts.")
      .def_ro("chosen", &TokenLogProbabilities::chosen, "Natural logarithm.")
      .def_prop_ro(
          "most_probable",
          [](const TokenLogProbabilities& of) {
            std::vector<std::pair<TokenId, float>> best;
            for (const TokenLogProbability& one : of.most_probable) {
              best.emplace_back(one.token, one.log_probability);
            }
            return best;
          },
          "Tokens and their log-probabilities, best first.");

  nb::class_<Generated>(module, "Generated", "What was generated after a prompt.")
      .def_ro("tokens", &Generated::tokens, "The new ones, a stop token among them.")
      .def_ro("text", &Generated::text, "Of these, up to what ended it; empty without a tokenizer.")
      .def_prop_ro(
          "finish_reason",
          [](const Generated& generated) {
            return std::string(finish_reason_name(generated.finish_reason));
          },
          nb::sig("def finish_reason(self) -> typing.Literal['length', 'stop_token', "
                  "'stop_string', 'cancelled', 'complete']"),
          "Why the text ended.")
      .def_ro("log_probabilities", &Generated::log_probabilities,
              "Of each token, where asked for.");

  nb::class_<Generation::Token>(module, "NewToken", "A token that was just drawn.")
      .def_ro("token", &Generation::Token::token)
      .def_ro("text", &Generation::Token::text,
              "What the text has grown by: whole characters, and none that may yet be the\n"
              "beginning of a stop string.")
      .def("__repr__", [](const Generation::Token& token) {
        return nb::str("NewToken(token={}, text={!r})").format(token.token, token.text);
      });
}

}  // namespace

void bind_generate(nb::module_& module) {
  using namespace nb::literals;
  bind_generated(module);
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
      .def(
          "__enter__", [](const nb::object& self) { return self; },
          nb::sig("def __enter__(self) -> typing.Self"))
      .def(
          "__exit__", [](GenerationObject& object, const nb::args&) { object.close(); },
          nb::sig("def __exit__(self, *exception: object) -> None"));

  module.def("generate", &begin, "sequence"_a, "prompt"_a = nb::tuple(), nb::kw_only(),
             "max_new_tokens"_a, "sampling"_a = SamplingOptions(), "stop_tokens"_a = nb::tuple(),
             "stop_strings"_a = nb::tuple(), "tokenizer"_a = nb::none(),
             "log_probabilities"_a = nb::none(),
             nb::sig("def generate(sequence: Sequence, prompt: " KVCACHE_PY_TOKENS
                     " = (), *, " KVCACHE_PY_GENERATE_OPTIONS ") -> Generation"),
             kGenerateDoc);
  module.def(
      "generate_samples", &samples, "sequence"_a, "prompt"_a, "count"_a, nb::kw_only(),
      "max_new_tokens"_a, "sampling"_a = SamplingOptions(), "stop_tokens"_a = nb::tuple(),
      "stop_strings"_a = nb::tuple(), "tokenizer"_a = nb::none(),
      "log_probabilities"_a = nb::none(),
      nb::sig("def generate_samples(sequence: Sequence, prompt: " KVCACHE_PY_TOKENS
              ", count: int, *, " KVCACHE_PY_GENERATE_OPTIONS ") -> list[Generated]"),
      "`count` texts of one prompt, which is computed once; the sequence then ends with the\n"
      "prompt. Text i is drawn as sample i. Arguments and errors as generate(), and\n"
      "Error invalid_argument for a count of 0.");
}

}  // namespace kvcache::python
