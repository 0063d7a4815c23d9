// A loaded model: where sequences come from.

#include "kvcache/model.hpp"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <filesystem>
#include <optional>
#include <string>

#include "bindings/bind.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/logits_for.hpp"
#include "bindings/names.hpp"
#include "bindings/python_log.hpp"
#include "bindings/sequence_object.hpp"
#include "bindings/tokens.hpp"

namespace kvcache::python {
namespace {

constexpr Names<Device, 2> kDevices{{{"cpu", Device::cpu}, {"cuda", Device::cuda}}};
constexpr Names<WeightMemory, 3> kWeightMemory{{{"huge_pages", WeightMemory::huge_pages},
                                                {"mapped", WeightMemory::mapped},
                                                {"copied", WeightMemory::copied}}};

Model load(const std::filesystem::path& path, int num_threads,
           std::optional<std::string_view> require_device, std::size_t block_len,
           std::size_t cache_bytes, std::optional<std::size_t> rewindable_tokens,
           bool poison_freed_blocks, std::string_view weight_memory, std::size_t runs_before_move,
           bool verify_digests, bool fuse_steps, bool invariant_results, bool telemetry,
           const std::optional<std::filesystem::path>& profile_prefix, const nb::object& log) {
  ModelOptions options;
  options.num_threads = num_threads;
  if (require_device) {
    options.require_device = to_choice(kDevices, "require_device", *require_device);
  }
  options.block_len = block_len;
  options.cache_bytes = cache_bytes;
  options.rewindable_tokens = rewindable_tokens;
  options.poison_freed_blocks = poison_freed_blocks;
  options.weight_memory = to_choice(kWeightMemory, "weight_memory", weight_memory);
  options.runs_before_move = runs_before_move;
  options.verify_digests = verify_digests;
  options.fuse_steps = fuse_steps;
  options.invariant_results = invariant_results;
  options.telemetry = telemetry;
  options.profile_prefix = profile_prefix.value_or(std::filesystem::path());
  options.log = to_log_callback(log);
  const Unlocked released;
  return Model::load(path, options);
}

constexpr const char* kLoadSignature =
    "def load(path: str | os.PathLike[str], *, num_threads: int = 0, "
    "require_device: typing.Literal['cpu', 'cuda'] | None = None, block_len: int = 0, "
    "cache_bytes: int = 0, rewindable_tokens: int | None = None, "
    "poison_freed_blocks: bool = False, "
    "weight_memory: typing.Literal['huge_pages', 'mapped', 'copied'] = 'huge_pages', "
    "runs_before_move: int = 256, verify_digests: bool = True, fuse_steps: bool = True, "
    "invariant_results: bool = False, telemetry: bool = False, "
    "profile_prefix: str | os.PathLike[str] | None = None, "
    "log: collections.abc.Callable[[str], object] | None = None) -> Model";

constexpr const char* kLoadDoc =
    "Loads the model directory that kvcache-export wrote (or its .onnx file).\n\n"
    "Args:\n"
    "    num_threads: of one run; 0: as many as there are physical cores.\n"
    "    require_device: anything else is an error. None: CUDA where this build, the ONNX Runtime\n"
    "        in use and the machine have it, else the CPU; device_report() says which and why.\n"
    "    block_len: tokens per cache block; 0: 32.\n"
    "    cache_bytes: the most memory that keys and values may take; 0: enough for 16 sequences "
    "of\n"
    "        full length. Taken as sequences grow.\n"
    "    rewindable_tokens: by how many of its latest tokens a sequence of a model with windows "
    "can\n"
    "        always be rewound; None: by all.\n"
    "    poison_freed_blocks: fills freed cache blocks with NaN; for tests.\n"
    "    weight_memory: where weights lie on the CPU (include/kvcache/options.hpp).\n"
    "    runs_before_move: runs after which weights are moved into huge pages.\n"
    "    verify_digests: checks the model files against the digests of config.json.\n"
    "    fuse_steps: runs decode steps without ONNX Runtime where the model permits it.\n"
    "    invariant_results: insists that a token's results are the same bits in any company.\n"
    "    telemetry: leaves ONNX Runtime's telemetry as it is; else it is off.\n"
    "    profile_prefix: writes ONNX Runtime's profile to a file that starts with this path.\n"
    "    log: called with each message of ONNX Runtime, warnings and above, in any thread; what "
    "it\n"
    "        raises goes to sys.unraisablehook.\n\n"
    "Raises:\n"
    "    Error: model_not_found, model_invalid, config_invalid, config_mismatch, digest_mismatch,\n"
    "        contract_violation, device_unavailable, invalid_argument, out_of_memory.";

Logits forward_without_cache(const Model& model, const nb::object& tokens,
                             std::string_view logits_for) {
  const std::vector<TokenId> all = to_tokens(tokens);
  const LogitsFor which = to_logits_for(logits_for);
  const Unlocked released;
  return model.forward_without_cache(all, which);
}

}  // namespace

void bind_model(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<Model>(
      module, "Model",
      "One ONNX Runtime session and one cache, immutable and shared: any thread may use it.\n\n"
      "Source: include/kvcache/model.hpp.")
      .def_static("load", &load, "path"_a, nb::kw_only(), "num_threads"_a = 0,
                  "require_device"_a = nb::none(), "block_len"_a = 0, "cache_bytes"_a = 0,
                  "rewindable_tokens"_a = nb::none(), "poison_freed_blocks"_a = false,
                  "weight_memory"_a = "huge_pages", "runs_before_move"_a = 256,
                  "verify_digests"_a = true, "fuse_steps"_a = true, "invariant_results"_a = false,
                  "telemetry"_a = false, "profile_prefix"_a = nb::none(), "log"_a = nb::none(),
                  nb::sig(kLoadSignature), kLoadDoc)
      .def_prop_ro("info", &Model::info, nb::rv_policy::reference_internal)
      .def_prop_ro("num_threads", &Model::num_threads, "Of one run.")
      .def_prop_ro("invariant_results", &Model::invariant_results,
                   "Whether a token's results are the same bits whatever is computed beside it.")
      .def_prop_ro(
          "device",
          [](const Model& model) { return std::string(name_of(kDevices, model.device())); },
          nb::sig("def device(self) -> typing.Literal['cpu', 'cuda']"),
          "The device that the model runs on.")
      .def("device_report", &Model::device_report,
           "One line: which device the model runs on and why.")
      .def(
          "new_sequence", [](const Model& model) { return SequenceObject(model.new_sequence()); },
          "An empty sequence. It takes memory when it is extended.")
      .def(
          "load_sequence",
          [](const Model& model, const std::filesystem::path& path) {
            const Unlocked released;
            return SequenceObject(model.load_sequence(path));
          },
          "path"_a, nb::sig("def load_sequence(self, path: str | os.PathLike[str]) -> Sequence"),
          "A sequence that Sequence.save() wrote, ready to be extended.\n\n"
          "Raises:\n    Error: state_invalid, state_mismatch, cache_full, out_of_memory.")
      .def("forward_without_cache", &forward_without_cache, "tokens"_a, "logits_for"_a = "last",
           nb::sig("def forward_without_cache(self, tokens: " KVCACHE_PY_TOKENS
                   ", logits_for: typing.Literal['last', 'all'] = 'last') -> Logits"),
           "The same logits computed from nothing, as a program without a cache would: what\n"
           "caching is measured against.\n\n"
           "Raises:\n    Error: empty_input, token_out_of_range, context_full, out_of_memory,\n"
           "        run_failed, logits_invalid.")
      .def("cache_stats", &Model::cache_stats)
      .def("reserve_cache", &Model::reserve_cache, "count"_a, nb::call_guard<Unlocked>(),
           "Takes the memory for `count` tokens in all layers now.\n\n"
           "Raises:\n    Error: cache_full, out_of_memory.")
      .def("trim_cache", &Model::trim_cache, nb::call_guard<Unlocked>(),
           "Gives the memory of free blocks back to the system.")
      .def("move_weights", &Model::move_weights, nb::call_guard<Unlocked>(),
           "Moves the weights into the process's own memory now, where they are still mapped, and\n"
           "waits for that. Whether they lie there.")
      .def("end_profile", &Model::end_profile, nb::call_guard<Unlocked>(),
           "Ends the profile that profile_prefix of load() began; returns its file.\n\n"
           "Raises:\n    Error: invalid_argument when no profile was asked for.")
      .def("__repr__", [](const Model& model) {
        return fmt::format("Model({}, {} layers, on {})", model.info().model_type,
                           model.info().num_layers, name_of(kDevices, model.device()));
      });
}

}  // namespace kvcache::python
