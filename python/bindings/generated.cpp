// What was generated after a prompt.

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/generation.hpp"
#include "kvcache/beam_search.hpp"
#include "kvcache/generate.hpp"

namespace kvcache::python {
namespace {

constexpr const char* kFinishReasonSignature =
    "def finish_reason(self) -> typing.Literal['length', 'stop_token', 'stop_string', 'cancelled', "
    "'complete']";
constexpr const char* kMeetsConstraintDoc =
    "Whether the text is one that the constraint lets end here, and was not cut off; True\n"
    "without one.";

}  // namespace

void bind_generated(nb::module_& module) {
  nb::class_<TokenLogProbabilities>(
      module, "TokenLogProbabilities",
      "How probable a new token was to the model, before biases,\n"
      "penalties, temperature and cuts; with a constraint, among the tokens that it "
      "allows.")
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
          nb::sig(kFinishReasonSignature), "Why the text ended.")
      .def_ro("meets_constraint", &Generated::meets_constraint, kMeetsConstraintDoc)
      .def_ro("log_probabilities", &Generated::log_probabilities,
              "Of each token, where asked for.");

  nb::class_<Beam>(module, "Beam", "A text that beam_search() found.")
      .def_ro("tokens", &Beam::tokens, "The new ones, a stop token among them.")
      .def_ro("text", &Beam::text, "Of these but the stop token; empty without a tokenizer.")
      .def_prop_ro(
          "finish_reason",
          [](const Beam& beam) { return std::string(finish_reason_name(beam.finish_reason)); },
          nb::sig(kFinishReasonSignature), "Why the text ended.")
      .def_ro("meets_constraint", &Beam::meets_constraint, kMeetsConstraintDoc)
      .def_ro("log_probability", &Beam::log_probability,
              "Of the new tokens to the model, all together: a natural logarithm.")
      .def_ro("score", &Beam::score, "What beams are compared by.");

  nb::class_<Generation::Token>(module, "NewToken", "A token that was just drawn.")
      .def_ro("token", &Generation::Token::token)
      .def_ro("text", &Generation::Token::text,
              "What the text has grown by: whole characters, and none that may yet be the\n"
              "beginning of a stop string.")
      .def("__repr__", [](const Generation::Token& token) {
        return nb::str("NewToken(token={}, text={!r})").format(token.token, token.text);
      });
}

}  // namespace kvcache::python
