// From logits to the next token.

#include "kvcache/sampler.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/errors.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/tokens.hpp"
#include "bindings/use.hpp"

namespace kvcache::python {
namespace {

using LogitsArray = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

/// A sampler and who uses it.
struct SamplerObject {
  explicit SamplerObject(const SamplingOptions& options) : sampler(options) {}

  Sampler sampler;
  Use use;
};

SamplingOptions options(const std::map<TokenId, float>& logit_bias, double repetition_penalty,
                        double frequency_penalty, double presence_penalty, double temperature,
                        std::size_t top_k, double top_p, double min_p, double typical_p,
                        std::uint64_t seed) {
  SamplingOptions made;
  for (const auto& [token, bias] : logit_bias) {
    made.logit_bias.push_back({token, bias});
  }
  made.repetition_penalty = repetition_penalty;
  made.frequency_penalty = frequency_penalty;
  made.presence_penalty = presence_penalty;
  made.temperature = temperature;
  made.top_k = top_k;
  made.top_p = top_p;
  made.min_p = min_p;
  made.typical_p = typical_p;
  made.seed = seed;
  return made;
}

/// What a token is drawn after, as Python gives it.
struct Context {
  Context(const nb::object& prompt_tokens, const nb::object& generated_tokens,
          const TokenMask* allowed_tokens, std::uint64_t sample, std::uint64_t position)
      : prompt(to_tokens(prompt_tokens, "prompt")),
        generated(to_tokens(generated_tokens, "generated")),
        allowed(allowed_tokens == nullptr ? TokenMask() : *allowed_tokens),
        context{prompt, generated, sample, position,
                allowed_tokens == nullptr ? nullptr : &allowed} {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  std::vector<TokenId> prompt;
  std::vector<TokenId> generated;
  TokenMask allowed;  // a copy: the interpreter's lock is not held while it is read
  SamplingContext context;
};

TokenId sample_logits(SamplerObject& object, const Logits& logits, std::int64_t row,
                      const nb::object& prompt, const nb::object& generated,
                      const TokenMask* allowed, std::uint64_t sample, std::uint64_t position) {
  const Context context(prompt, generated, allowed, sample, position);
  const std::int64_t from_begin = row < 0 ? row + static_cast<std::int64_t>(logits.rows()) : row;
  const Changing changing(object.use, "sampler");
  const Unlocked released;
  return object.sampler.sample(logits, static_cast<std::size_t>(from_begin), context.context);
}

TokenId sample_array(SamplerObject& object, const LogitsArray& logits, const nb::object& prompt,
                     const nb::object& generated, const TokenMask* allowed, std::uint64_t sample,
                     std::uint64_t position) {
  const Context context(prompt, generated, allowed, sample, position);
  const Changing changing(object.use, "sampler");
  const Unlocked released;
  return object.sampler.sample(std::span(logits.data(), logits.shape(0)), context.context);
}

std::vector<std::pair<TokenId, double>> distribution(SamplerObject& object,
                                                     const LogitsArray& logits,
                                                     const nb::object& prompt,
                                                     const nb::object& generated,
                                                     const TokenMask* allowed) {
  const Context context(prompt, generated, allowed, 0, 0);
  const Changing changing(object.use, "sampler");
  const Unlocked released;
  std::vector<std::pair<TokenId, double>> all;
  for (const TokenProbability& of :
       object.sampler.distribution(std::span(logits.data(), logits.shape(0)), context.context)) {
    all.emplace_back(of.token, of.probability);
  }
  return all;
}

#define KVCACHE_PY_CONTEXT                                            \
  "prompt: " KVCACHE_PY_TOKENS " = (), generated: " KVCACHE_PY_TOKENS \
  " = (), allowed: TokenMask | None = None, sample: int = 0, position: int = 0) -> int"

constexpr const char* kSampleDoc =
    "The token that follows. The random number is a function of seed, sample and position "
    "alone.\n\n"
    "Args:\n"
    "    logits: of the library, or float32, [vocab_size], from anywhere.\n"
    "    prompt: what was there.\n"
    "    generated: what was drawn after it.\n"
    "    allowed: the tokens that may be drawn; None: all.\n"
    "    sample: which of several texts this one is.\n"
    "    position: of the token, in its text.\n\n"
    "Raises:\n"
    "    Error: invalid_argument when there is no such row, no token is left, or `allowed` is of\n"
    "        another vocabulary; no_token_allowed when none of it is left; token_out_of_range,\n"
    "        logits_invalid, out_of_memory.";

}  // namespace

void bind_sampler(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<SamplingOptions>(
      module, "SamplingOptions",
      "How the next token is drawn. The options work in this order, which is that of Hugging\n"
      "Face's transformers; left as they are, they do nothing.\n\n"
      "Source: include/kvcache/sampler.hpp, docs/SAMPLING.md.")
      .def(
          "__init__",
          [](SamplingOptions* self, const std::map<TokenId, float>& logit_bias,
             double repetition_penalty, double frequency_penalty, double presence_penalty,
             double temperature, std::size_t top_k, double top_p, double min_p, double typical_p,
             std::uint64_t seed) {
            new (self) SamplingOptions(options(logit_bias, repetition_penalty, frequency_penalty,
                                               presence_penalty, temperature, top_k, top_p, min_p,
                                               typical_p, seed));
          },
          nb::kw_only(), "logit_bias"_a = nb::dict(), "repetition_penalty"_a = 1.0,
          "frequency_penalty"_a = 0.0, "presence_penalty"_a = 0.0, "temperature"_a = 1.0,
          "top_k"_a = 0, "top_p"_a = 1.0, "min_p"_a = 0.0, "typical_p"_a = 1.0, "seed"_a = 0,
          "Args:\n"
          "    logit_bias: what is added to tokens' logits; -inf: the token never comes.\n"
          "    repetition_penalty: above 1, tokens of the text so far come less often.\n"
          "    frequency_penalty: off a new token's logit for each time that it came.\n"
          "    presence_penalty: off a new token's logit once.\n"
          "    temperature: what logits are divided by; 0: the largest is taken.\n"
          "    top_k: the largest so many stay; 0: all.\n"
          "    top_p: the most probable stay until they make up this share, in [0, 1].\n"
          "    min_p: tokens stay that are at least this share as probable as the most probable.\n"
          "    typical_p: locally typical sampling, in (0, 1].")
      .def_ro("repetition_penalty", &SamplingOptions::repetition_penalty)
      .def_ro("frequency_penalty", &SamplingOptions::frequency_penalty)
      .def_ro("presence_penalty", &SamplingOptions::presence_penalty)
      .def_ro("temperature", &SamplingOptions::temperature)
      .def_ro("top_k", &SamplingOptions::top_k)
      .def_ro("top_p", &SamplingOptions::top_p)
      .def_ro("min_p", &SamplingOptions::min_p)
      .def_ro("typical_p", &SamplingOptions::typical_p)
      .def_ro("seed", &SamplingOptions::seed);

  nb::class_<SamplerObject>(module, "Sampler",
                            "Draws tokens. One thread at a time.\n\n"
                            "Source: include/kvcache/sampler.hpp, docs/SAMPLING.md.")
      .def(nb::init<const SamplingOptions&>(), "options"_a = SamplingOptions(),
           nb::sig("def __init__(self, options: SamplingOptions = ...) -> None"),
           "Raises:\n    Error: invalid_argument for an option outside its range, naming it.")
      .def("sample", &sample_logits, "logits"_a, "row"_a = -1, nb::kw_only(),
           "prompt"_a = nb::tuple(), "generated"_a = nb::tuple(), "allowed"_a = nb::none(),
           "sample"_a = 0, "position"_a = 0,
           nb::sig("def sample(self, logits: Logits, row: int = -1, *, " KVCACHE_PY_CONTEXT),
           kSampleDoc)
      .def("sample", &sample_array, nb::arg("logits").noconvert(), nb::kw_only(),
           "prompt"_a = nb::tuple(), "generated"_a = nb::tuple(), "allowed"_a = nb::none(),
           "sample"_a = 0, "position"_a = 0,
           nb::sig("def sample(self, logits: numpy.typing.NDArray[numpy.float32], "
                   "*, " KVCACHE_PY_CONTEXT),
           kSampleDoc)
      .def("distribution", &distribution, nb::arg("logits").noconvert(), nb::kw_only(),
           "prompt"_a = nb::tuple(), "generated"_a = nb::tuple(), "allowed"_a = nb::none(),
           nb::sig("def distribution(self, logits: numpy.typing.NDArray[numpy.float32], *, "
                   "prompt: " KVCACHE_PY_TOKENS " = (), generated: " KVCACHE_PY_TOKENS
                   " = (), allowed: TokenMask | None = None) -> list[tuple[int, float]]"),
           "The tokens that sample() may draw and their probabilities, the most probable first.\n\n"
           "Raises:\n    Error: as sample().")
      .def_prop_ro("options", [](const SamplerObject& object) { return object.sampler.options(); });
}

}  // namespace kvcache::python
