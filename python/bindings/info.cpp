// What config.json says about a model.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>

#include "bindings/bind.hpp"
#include "kvcache/types.hpp"

namespace kvcache::python {

void bind_info(nb::module_& module) {
  nb::class_<OutputInfo>(module, "OutputInfo",
                         "What a model computes beside its logits: a vector for each token whose\n"
                         "logits are asked for.")
      .def_ro("name", &OutputInfo::name, "Such as \"hidden_states\".")
      .def_ro("size", &OutputInfo::size, "Elements of the vector.")
      .def("__repr__", [](const OutputInfo& output) {
        return "OutputInfo(name='" + output.name + "', size=" + std::to_string(output.size) + ")";
      });

  nb::class_<ModelInfo>(
      module, "ModelInfo",
      "What config.json says about a model, checked against the graph at load.\n\n"
      "Source: include/kvcache/types.hpp.")
      .def_ro("model_type", &ModelInfo::model_type, "The family, such as \"gpt2\".")
      .def_ro("source", &ModelInfo::source, "Where the weights came from.")
      .def_prop_ro(
          "dtype", [](const ModelInfo& info) { return std::string(data_type_name(info.dtype)); },
          "Of arithmetic and logits: \"float32\", \"float16\" or \"bfloat16\".")
      .def_prop_ro(
          "cache_dtype",
          [](const ModelInfo& info) { return std::string(data_type_name(info.cache_dtype)); },
          "Of keys and values: as dtype, or \"int8\".")
      .def_ro("weights", &ModelInfo::weights,
              "Of the matrices: as dtype, or \"int8\", \"int4\", \"uint4\".")
      .def_ro("activations", &ModelInfo::activations,
              "What matrices are multiplied with: as dtype, or \"int8\".")
      .def_ro("num_layers", &ModelInfo::num_layers)
      .def_ro("num_heads", &ModelInfo::num_heads, "Heads of queries.")
      .def_ro("num_kv_heads", &ModelInfo::num_kv_heads, "Heads of keys and values.")
      .def_ro("head_dim", &ModelInfo::head_dim)
      .def_ro("hidden_size", &ModelInfo::hidden_size)
      .def_ro("vocab_size", &ModelInfo::vocab_size, "Token ids are in [0, vocab_size).")
      .def_ro("max_seq_len", &ModelInfo::max_seq_len, "Positions, in tokens.")
      .def_ro("relative_positions", &ModelInfo::relative_positions,
              "Rotary positions or none: a text's beginning may leave.")
      .def_ro("window", &ModelInfo::window,
              "Tokens that one sees at most, itself included, in any layer; 0: all.")
      .def_ro("outputs", &ModelInfo::outputs, "What Logits.output() has beside the logits.")
      .def_ro("bos_token_id", &ModelInfo::bos_token_id, "Before a text.")
      .def_ro("eos_token_id", &ModelInfo::eos_token_id, "Behind a text.")
      .def_ro("pad_token_id", &ModelInfo::pad_token_id, "Nothing here needs it.")
      .def_ro("stop_token_ids", &ModelInfo::stop_token_ids,
              "Each ends what is generated: a text or a turn.")
      .def_ro("model_bytes", &ModelInfo::model_bytes, "Of all model files together.")
      .def_ro("weight_bytes_per_token", &ModelInfo::weight_bytes_per_token,
              "What decoding one token has to read, in bytes.")
      .def_ro("digest", &ModelInfo::digest, "XXH3-128 of the model files, joined.")
      .def_prop_ro("cache_bytes_per_token", &ModelInfo::cache_bytes_per_token,
                   "Bytes of keys and values of one token, all layers.")
      .def("__repr__", [](const ModelInfo& info) {
        return "ModelInfo(model_type='" + info.model_type +
               "', num_layers=" + std::to_string(info.num_layers) +
               ", hidden_size=" + std::to_string(info.hidden_size) +
               ", vocab_size=" + std::to_string(info.vocab_size) +
               ", max_seq_len=" + std::to_string(info.max_seq_len) + ")";
      });
}

}  // namespace kvcache::python
