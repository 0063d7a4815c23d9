#include "ort/session.hpp"

#include <algorithm>
#include <exception>
#include <future>
#include <set>

#include "base/throw_error.hpp"
#include "device/cpu/cpu_info.hpp"
#include "device/ort_environment.hpp"
#include "kernels/cpu/bfloat16_cpu.hpp"
#include "ort/contract.hpp"
#include "ort/error_boundary.hpp"
#include "ort/external_initializers.hpp"
#include "ort/facts.hpp"

namespace kvcache::ort {
namespace {

constexpr std::int64_t kNever = -1;
constexpr int kMaxThreads = 4096;

// ONNX Runtime's names. Its headers of them are not in every package that has the others.
constexpr const char* kDisablePrepacking = "session.disable_prepacking";
constexpr const char* kDisableSynchronizing = "disable_synchronize_execution_providers";
constexpr const char* kInitializersFolder = "session.model_external_initializers_file_folder_path";

/// Whether ONNX Runtime says what it says at every load and nobody can mend: that an optional input
/// of the contract has an initializer (it means that the input is no constant, which is what it is
/// there for), or that it computes a constant of a float16 model at run time, not while loading.
bool is_expected(std::string_view message) {
  constexpr std::string_view kBegin = "Initializer ";
  constexpr std::string_view kRest = " appears in graph inputs";
  const std::size_t end = message.find(kRest);
  const bool is_of_input = message.starts_with(kBegin) && end != std::string_view::npos &&
                           is_optional_input(message.substr(kBegin.size(), end - kBegin.size()));
  return is_of_input || message.starts_with("Could not find a CPU kernel and hence can't constant");
}

void ORT_API_CALL forward_message(void* param, OrtLoggingLevel /*severity*/,
                                  const char* /*category*/, const char* /*logid*/,
                                  const char* /*code_location*/, const char* message) {
  const auto& log = *static_cast<const LogCallback*>(param);
  if (log && !is_expected(message)) {
    log(message);
  }
}

Ort::SessionOptions session_options(const ModelOptions& options, LogCallback& log) {
  Ort::SessionOptions result;
  result.SetInterOpNumThreads(1);
  result.SetExecutionMode(ORT_SEQUENTIAL);
  result.SetGraphOptimizationLevel(ORT_ENABLE_ALL);
  result.SetLogSeverityLevel(ORT_LOGGING_LEVEL_WARNING);
  // Our nodes read the weights where the system mapped them; packed copies would only take memory.
  result.AddConfigEntry(kDisablePrepacking, "1");
  if (!options.profile_prefix.empty()) {
    result.EnableProfiling(options.profile_prefix.c_str());
  }
  Ort::ThrowOnError(Ort::GetApi().SetUserLoggingFunction(result, &forward_message, &log));
  return result;
}

/// Threads of a run.
int check_threads(const ModelOptions& options) {
  if (options.num_threads < 0 || options.num_threads > kMaxThreads) {
    throw_error(ErrorCode::invalid_argument,
                "num_threads is {}, must be 0 (one per physical core) or at most {}",
                options.num_threads, kMaxThreads);
  }
  return options.num_threads == 0 ? device::usable_physical_cores() : options.num_threads;
}

/// Why a model can run on the CPU only; empty where it need not.
std::string only_cpu(const model::Config& config) {
  if (const std::string part = model::part_without_cuda(config.spec); !part.empty()) {
    return fmt::format("the model has {}, which there is no CUDA kernel for", part);
  }
  const ModelInfo& info = config.info;
  const std::string dtype(data_type_name(info.dtype));
  std::set<std::string> weights = config.overrides;
  weights.insert(info.weights);
  weights.erase(dtype);
  if (info.dtype == DataType::float32) {
    for (const char* quantized : {"int8", "int4", "uint4"}) {
      weights.erase(quantized);
    }
  } else if (info.cache_dtype != info.dtype) {
    return fmt::format("its keys and values are {} and everything else {}",
                       data_type_name(info.cache_dtype), dtype);
  }
  return weights.empty()
             ? ""
             : fmt::format(
                   "it has weights of {} and everything else is {}, which there is no CUDA "
                   "kernel for; export with --dtype float16 for a GPU",
                   *weights.begin(), dtype);
}

/// Why a model can run on a GPU only; empty where it need not.
std::string only_cuda(const model::Config& config) {
  return config.info.dtype != DataType::bfloat16
             ? ""
             : fmt::format(
                   "{} computes in bfloat16, which ONNX Runtime has no kernels for on a CPU; run "
                   "it on a GPU, or export with --dtype float32 --weights bfloat16 for a CPU",
                   config.model_path().string());
}

/// Whether all nodes are ours, on the CPU, and read weights where the library has them.
bool reads_mapped_weights(const ModelInfo& info) { return info.dtype == DataType::float32; }

/// Whether each token has the same bits whatever is computed beside it.
/// @throws Error invalid_argument where that is asked for and nobody can promise it
bool check_invariance(const model::Config& config, Device device, bool asked_for) {
  const ModelInfo& info = config.info;
  if (device == Device::cpu && info.dtype == DataType::float32) {
    return asked_for || info.activations != "bfloat16" || !kernels::multiplies_bfloat16();
  }
  if (asked_for) {
    throw_error(ErrorCode::invalid_argument,
                "invariant results were asked for of {}, which runs with {} arithmetic on {}; they "
                "are promised for float32 on the CPU: {}",
                config.model_path().string(), data_type_name(info.dtype), device_name(device),
                info.dtype == DataType::float32
                    ? "require the CPU (--device cpu)"
                    : "export with --dtype float32 (its weights and cache may be narrower)");
  }
  return false;
}

}  // namespace

Session::Session(const model::Config& config, const ModelOptions& options,
                 const model::LayerGroups& groups)
    : num_threads_(check_threads(options)),
      choice_(device::choose_backend({.required = options.require_device,
                                      .only_cpu = only_cpu(config),
                                      .only_cuda = only_cuda(config),
                                      .num_threads = num_threads_,
                                      .all_nodes_ours = reads_mapped_weights(config.info),
                                      .captures_runs = options.profile_prefix.empty(),
                                      .fuses_steps = options.fuse_steps,
                                      .telemetry = options.telemetry,
                                      .log = options.log})),
      domain_(choice_.backend->device(), config.info.dtype, counters_, groups,
              choice_.backend->threads(), options.invariant_results),
      dtype_(config.info.dtype),
      vocab_size_(config.info.vocab_size),
      outputs_(config.info.outputs),
      plan_(plan::make_plan(config.spec, outputs_, groups)),
      runs_left_(options.weight_memory == WeightMemory::huge_pages
                     ? static_cast<std::int64_t>(options.runs_before_move)
                     : kNever),
      log_(options.log),
      profiling_(!options.profile_prefix.empty()) {
  if (const std::string part = model::unsupported_part(config.spec); !part.empty()) {
    throw_error(ErrorCode::model_invalid,
                "{} has {}, which this library has no kernel for; plain ONNX Runtime runs it",
                config.model_path().string(), part);
  }
  invariant_results_ =
      check_invariance(config, choice_.backend->device(), options.invariant_results);
  load_weights(config, options.weight_memory);
  open(config, options);
  if (!reads_mapped_weights(config.info)) {
    weight_files_.clear();  // ONNX Runtime has its own
  }
  for (auto& [name, weights] : weight_files_) {
    weights.settle(domain_.places_read(weights));
  }
  if (runs_left_ == 0) {
    begin_to_move();
  }
}

Session::StopMoves::~StopMoves() {
  for (auto& [name, weights] : files) {
    weights.stop();
  }
}

void Session::load_weights(const model::Config& config, WeightMemory memory) {
  if (choice_.backend->device() != Device::cpu) {
    return;  // they go to the device
  }
  const weights::WeightSource source =
      !reads_mapped_weights(config.info) ? weights::WeightSource::read
      : memory == WeightMemory::mapped   ? weights::WeightSource::mapped
      : memory == WeightMemory::copied   ? weights::WeightSource::read
                                         : weights::WeightSource::held;
  for (const model::ModelFile& file : config.files) {
    if (file.role == model::FileRole::weights) {
      const auto [found, added] =
          weight_files_.try_emplace(file.name, config.directory / file.name, source, num_threads_);
      if (reads_mapped_weights(config.info)) {
        domain_.read_from(found->second);
      }
    }
  }
}

/// Opens the session from the graph's bytes, those whose digest is checked.
void Session::open(const model::Config& config, const ModelOptions& options) {
  model::check_file_sizes(config);  // after the files are held
  const weights::WeightFile graph(config.model_path(), weights::WeightSource::read, 1);
  model::LoadedFiles loaded{{config.model_file, &graph}};
  for (const auto& [name, weights] : weight_files_) {
    loaded[name] = &weights;
  }
  auto digests = std::async(std::launch::async, [&] {  // while weights are read, and beyond
    if (options.verify_digests) {
      model::check_file_digests(config, loaded);
    }
  });
  environment_ = device::ort_environment(options.telemetry);
  Ort::SessionOptions ort_options = session_options(options, log_);
  ort_options.AddConfigEntry(kInitializersFolder, config.directory.c_str());
  choice_.backend->add_to(ort_options);
  domain_.add_to(ort_options);
  std::exception_ptr refused;
  try {
    if (!reads_mapped_weights(config.info)) {
      give_weights(ort_options);
    }
    graph.wait(graph.bytes().size());
    session_ = Ort::Session(*environment_, graph.bytes().data(), graph.bytes().size(), ort_options);
  } catch (...) {
    refused = std::current_exception();
  }
  digests.get();  // an altered file is the better explanation of a graph that does not load
  try {
    if (refused) {
      std::rethrow_exception(refused);
    }
  } catch (...) {
    const std::string what = fmt::format("cannot load {}", config.model_path().string());
    rethrow_as_error({what, ErrorCode::model_invalid, ErrorCode::model_invalid});
  }
  check_contract(session_, config);
  check_facts(domain_.facts(), config);
}

/// ONNX Runtime's own nodes read the weights where it maps them, which nothing would keep apart
/// from the file: it gets their bytes instead, and copies them.
void Session::give_weights(Ort::SessionOptions& options) {
  std::vector<std::string> names;
  std::vector<const std::byte*> bytes;
  std::vector<std::size_t> sizes;
  for (auto& [name, weights] : weight_files_) {
    weights.wait(weights.bytes().size());
    names.push_back(name);
    bytes.push_back(weights.bytes().data());
    sizes.push_back(weights.bytes().size());
  }
  if (!names.empty()) {
    add_external_initializers(options, names, bytes, sizes);
  }
}

void Session::count_run() noexcept {
  if (runs_left_.load(std::memory_order_relaxed) > 0 && --runs_left_ == 0) {
    begin_to_move();
  }
}

void Session::begin_to_move() noexcept {
  for (auto& [name, weights] : weight_files_) {
    weights.move();
  }
}

bool Session::move_weights() {
  begin_to_move();
  return std::ranges::all_of(weight_files_,
                             [](const auto& file) { return file.second.wait_for_move(); });
}

std::string Session::device_report() const {
  const std::string ort = fmt::format("ONNX Runtime {}", Ort::GetVersionString());
  const std::string where = choice_.backend->description();
  return choice_.why_not_cuda.empty()
             ? fmt::format("{}, {}", where, ort)
             : fmt::format("{}, {}; cuda: {}", where, ort, choice_.why_not_cuda);
}

Ort::RunOptions Session::run_options() const {
  Ort::RunOptions options;
  // Who runs the model waits for it, once all work is in order: see device::Step.
  options.AddConfigEntry(kDisableSynchronizing, "1");
  return options;
}

void Session::run(const Ort::RunOptions& options, Ort::IoBinding& binding) {
  try {
    session_.Run(options, binding);
  } catch (...) {
    rethrow_as_error(kRun);
  }
}

void Session::count_replay(bool in_place, std::size_t attention_nodes) noexcept {
  (in_place ? counters_.in_place_runs : counters_.growing_runs)
      .fetch_add(attention_nodes, std::memory_order_relaxed);
}

std::filesystem::path Session::end_profile() {
  if (!profiling_) {
    throw_error(ErrorCode::invalid_argument,
                "no profile was recorded: set ModelOptions::profile_prefix before loading");
  }
  profiling_ = false;
  const Ort::AllocatorWithDefaultOptions allocator;
  return session_.EndProfilingAllocated(allocator).get();
}

}  // namespace kvcache::ort
