// The ONNX Runtime session of one model.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device/backend.hpp"
#include "kvcache/options.hpp"
#include "model/config.hpp"
#include "model/layer_groups.hpp"
#include "ort/node_counters.hpp"
#include "ort/registration.hpp"
#include "weights/weight_file.hpp"

namespace kvcache::ort {

/// Opens the graph with our nodes registered and checks it against the contract and config.json.
/// Groups are those whose layers have rows of block tables of their own.
/// Any thread may run it.
class Session {
 public:
  /// @throws Error model_invalid, contract_violation, config_mismatch, digest_mismatch,
  ///         model_not_found, device_unavailable
  Session(const model::Config& config, const ModelOptions& options,
          const model::LayerGroups& groups);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Runs what `binding` holds.
  /// @throws Error run_failed
  void run(const Ort::RunOptions& options, Ort::IoBinding& binding);

  [[nodiscard]] Ort::Session& ort() noexcept { return session_; }
  /// Counts the attention nodes of a run that was replayed: they ran, but nobody called them.
  void count_replay(bool in_place, std::size_t attention_nodes) noexcept;

  /// To be called after each run: after some, weights that are mapped begin to move.
  void count_run() noexcept;
  /// Moves them now and waits. Whether all lie in memory of the process's own.
  [[nodiscard]] bool move_weights();

  [[nodiscard]] const NodeCounters& counters() const noexcept { return counters_; }
  [[nodiscard]] int num_threads() const noexcept { return num_threads_; }
  [[nodiscard]] bool invariant_results() const noexcept { return invariant_results_; }
  [[nodiscard]] device::Backend& backend() noexcept { return *choice_.backend; }
  /// What the backend makes runs of the model with.
  [[nodiscard]] device::StepModel step_model() const noexcept {
    return {dtype_, vocab_size_, outputs_, plan_, domain_.node_weights()};
  }

  /// One line: which device the model runs on and why.
  [[nodiscard]] std::string device_report() const;

  /// What runs are to be made with.
  [[nodiscard]] Ort::RunOptions run_options() const;

  /// @throws Error invalid_argument when no profile was asked for
  std::filesystem::path end_profile();

 private:
  /// Puts the weights beside the graph into memory, for the kernels to be read there.
  void load_weights(const model::Config& config, WeightMemory memory);
  void open(const model::Config& config, const ModelOptions& options);
  void give_weights(Ort::SessionOptions& options);
  void begin_to_move() noexcept;

  using WeightFiles = std::map<std::string, weights::WeightFile>;  // by name
  struct StopMoves {
    WeightFiles& files;
    ~StopMoves();
  };

  int num_threads_;
  bool invariant_results_ = false;
  std::shared_ptr<Ort::Env> environment_;
  device::BackendChoice choice_;
  WeightFiles weight_files_;  // read by the session
  NodeCounters counters_;
  NodeDomain domain_;
  DataType dtype_;
  std::size_t vocab_size_;
  std::vector<OutputInfo> outputs_;
  plan::Plan plan_;
  std::atomic<std::int64_t> runs_left_;  // until they move
  LogCallback log_;
  bool profiling_;
  Ort::Session session_{nullptr};
  StopMoves stop_moves_{weight_files_};  // last: what they move is the session's too
};

}  // namespace kvcache::ort
