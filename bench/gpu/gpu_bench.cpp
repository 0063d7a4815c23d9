// Measures one model on a GPU: everything that docs/KVCACHE_BENCHMARK.md says of it, as JSON.
//
// bench/gpu_bars.py runs it for each element type and puts the results together.
#include <cuda_runtime_api.h>
#include <cxxabi.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.hpp"
#include "gpu/device_activity.hpp"
#include "gpu/random_runs.hpp"
#include "kernels/cpu/log_sum_exp_cpu.hpp"
#include "kvcache/kvcache.hpp"

namespace kvcache::bench {
namespace {

using nlohmann::json;

constexpr std::size_t kDecoded = 200;  // tokens of a measurement
constexpr std::size_t kWarmUp = 8;
constexpr std::size_t kLeft = 32;    // positions after a depth that a measurement needs
constexpr std::size_t kLong = 1001;  // tokens from which on few forwards without a cache are run

class Clock {
 public:
  [[nodiscard]] double ms() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_)
        .count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

json statistics(std::vector<double> samples) {
  std::ranges::sort(samples);
  const auto at = [&](double share) {
    return samples[static_cast<std::size_t>(share * static_cast<double>(samples.size() - 1))];
  };
  return {{"median", at(0.5)}, {"p10", at(0.1)}, {"p90", at(0.9)}, {"samples", samples.size()}};
}

class Bench {
 public:
  Bench(std::string path, bool fuse, Clock started) : path_(std::move(path)), load_(started) {
    ModelOptions options;
    options.fuse_steps = fuse;
    options.log = [](std::string_view message) { std::cerr << message << "\n"; };
    options.require_device = Device::cuda;
    options.cache_bytes = std::size_t{8} << 30;
    model_ = std::make_unique<Model>(Model::load(path_, options));
    load_ms_ = load_.ms();
    const Clock cold;
    Sequence sequence = model_->new_sequence();
    first_ = sequence.extend(std::vector<TokenId>{1}).argmax();
    cold_ms_ = cold.ms();
  }

  /// Of one token only, for comparing ways to run it; as deep as the model goes.
  json run_decode() {
    json result;
    for (const std::size_t depth : {8, 128, 512, 1000, 2000, 4000, 8000}) {
      if (depth + kLeft <= model_->info().max_seq_len) {
        result["decode"].push_back(decode(depth));
      }
    }
    count_activity(result);
    return result;
  }

  /// Of a few tokens only, the same.
  json run_few() {
    json result;
    for (const std::size_t depth : {8, 128, 2000}) {
      for (const std::size_t rows : {1, 2, 3, 4, 8}) {
        if (depth + kLeft <= model_->info().max_seq_len) {
          result["batch"].push_back(batch(rows, depth));
        }
      }
    }
    for (const std::size_t nodes : {2, 4, 8}) {
      result["tree"].push_back(tree(nodes, 512));
    }
    for (const std::size_t tokens : {2, 4}) {
      result["prefill"].push_back(prefill(tokens));
    }
    count_activity(result);
    return result;
  }

  /// What a step takes, of one sequence, prompts, batches and trees, the same.
  json run_steps() {
    json result;
    for (const std::size_t depth : {8, 128, 512, 1000}) {
      progress("decode");
      result["decode"].push_back(decode(depth));
    }
    for (const std::size_t tokens : {128, 512, 1024}) {
      progress("prefill");
      result["prefill"].push_back(prefill(tokens));
    }
    for (const std::size_t rows : {1, 2, 4, 8, 16, 32, 64}) {
      progress("batch");
      result["batch"].push_back(batch(rows, 128));
    }
    for (const std::size_t nodes : {16, 64, 256}) {
      progress("tree");
      result["tree"].push_back(tree(nodes, 512));
    }
    return result;
  }

  json run() {
    json result;
    result["floor"] = {{"read_gb_per_s", copy_rate()}};
    result["first_token"] = json::array({first_token()});
    result.update(run_steps());
    for (const std::size_t nodes : {20, 64}) {
      progress("scores");
      result["scores"].push_back(scores(nodes, 128, 20));
    }
    progress("sampling");
    result["sampling"] = sampling();
    progress("varied");
    result["varied"].push_back(varied());
    progress("speedup");
    for (const std::size_t tokens : {16, 32, 64, 128, 256, 512, 1000}) {
      result["speedup"].push_back(speedup(tokens));
    }
    progress("memory, copies, profile");
    result["memory"] = memory();
    count_activity(result);
    progress("10,000 tokens");
    result["steady"] = steady(10000);
    return result;
  }

 private:
  static void progress(const char* part) { std::cerr << part << "\n"; }

  [[nodiscard]] std::string dtype() const {
    return std::string(data_type_name(model_->info().dtype));
  }

  std::vector<TokenId> random_tokens(std::size_t count) {
    return bench::random_tokens(*model_, random_, count);
  }

  Sequence sequence_of(std::size_t depth) { return random_sequence(*model_, random_, depth); }

  /// Bytes per second that a large copy within the device moves, read and written.
  static double copy_rate() {
    constexpr std::size_t kBytes = std::size_t{2} << 30;
    void* from = nullptr;
    void* to = nullptr;
    std::vector<double> rates;
    if (cudaMalloc(&from, kBytes) != cudaSuccess || cudaMalloc(&to, kBytes) != cudaSuccess) {
      throw std::runtime_error("no memory to measure the bandwidth with");
    }
    for (int i = 0; i < 10; ++i) {
      const Clock clock;
      cudaMemcpy(to, from, kBytes, cudaMemcpyDeviceToDevice);
      cudaDeviceSynchronize();
      rates.push_back(2.0 * kBytes / clock.ms() / 1e6);
    }
    cudaFree(from);
    cudaFree(to);
    std::ranges::sort(rates);
    return rates[rates.size() / 2];
  }

  json first_token() {
    std::vector<double> warm;
    for (int i = 0; i < 50; ++i) {
      Sequence sequence = model_->new_sequence();
      const Clock clock;
      (void)sequence.extend(std::vector<TokenId>{first_}).argmax();
      warm.push_back(clock.ms());
    }
    return {{"dtype", dtype()},
            {"load_ms", load_ms_},
            {"cold_ms", cold_ms_},
            {"warm_ms", statistics(warm)}};
  }

  /// Tokens one after the other, back to `depth` after every eight.
  json decode(std::size_t depth) {
    Sequence sequence = sequence_of(depth);
    const std::vector<TokenId> prompt(sequence.tokens().begin(), sequence.tokens().end());
    TokenId next = 1;
    std::vector<double> samples;
    for (std::size_t i = 0; i < kDecoded + kWarmUp; ++i) {
      if (sequence.length() >= depth + 8) {
        sequence.rewind(depth);
      }
      const Clock clock;
      next = sequence.extend(std::span(&next, 1)).argmax();
      if (i >= kWarmUp) {
        samples.push_back(clock.ms());
      }
    }
    return {{"dtype", dtype()},
            {"depth", depth},
            {"ms", statistics(samples)},
            {"agreement", agreement(prompt)},
            {"weight_bytes", model_->info().weight_bytes_per_token}};
  }

  /// Greedy tokens after a prompt, against forwards that know no cache.
  json agreement(std::span<const TokenId> prompt) {
    Sequence sequence = model_->new_sequence();
    std::vector<TokenId> text(prompt.begin(), prompt.end());
    if (text.empty()) {
      text.push_back(1);
    }
    const std::size_t count = std::min<std::size_t>(text.size() > kLong ? 2 : 24,
                                                    model_->info().max_seq_len - text.size());
    std::size_t equal = 0;
    double difference = 0;
    Logits cached = sequence.extend(text);
    for (std::size_t i = 0; i < count; ++i) {
      const Logits plain = model_->forward_without_cache(text);
      double largest = 0;
      double scale = 0;
      for (std::size_t v = 0; v < plain.vocab_size(); ++v) {
        largest = std::max(largest, std::abs(double{cached.last()[v]} - plain.last()[v]));
        scale = std::max(scale, std::abs(double{plain.last()[v]}));
      }
      difference = std::max(difference, largest / scale);
      const TokenId token = cached.argmax();
      equal += token == plain.argmax() ? 1 : 0;
      text.push_back(token);
      if (i + 1 < count) {
        cached = sequence.extend(std::span(&text.back(), 1));
      }
    }
    return {{"tokens_equal", equal}, {"tokens", count}, {"max_logit_difference", difference}};
  }

  json prefill(std::size_t tokens) {
    const std::vector<TokenId> prompt = random_tokens(tokens);
    std::vector<double> samples;
    for (std::size_t i = 0; i < 40 + kWarmUp; ++i) {
      Sequence sequence = model_->new_sequence();
      const Clock clock;
      (void)sequence.extend(prompt).argmax();
      if (i >= kWarmUp) {
        samples.push_back(clock.ms());
      }
    }
    return {{"dtype", dtype()}, {"tokens", tokens}, {"ms", statistics(samples)}};
  }

  json batch(std::size_t rows, std::size_t depth) {
    std::vector<Sequence> sequences;
    std::vector<TokenId> next(rows, 1);
    for (std::size_t row = 0; row < rows; ++row) {
      sequences.push_back(sequence_of(depth));
    }
    std::vector<double> samples;
    for (std::size_t i = 0; i < kDecoded + kWarmUp; ++i) {
      std::vector<Extension> extensions;
      for (std::size_t row = 0; row < rows; ++row) {
        if (sequences[row].length() >= depth + 8) {
          sequences[row].rewind(depth);
        }
        extensions.push_back({&sequences[row], std::span(&next[row], 1)});
      }
      const Clock clock;
      const std::vector<Logits> logits = extend(extensions);
      for (std::size_t row = 0; row < rows; ++row) {
        next[row] = logits[row].argmax();
      }
      if (i >= kWarmUp) {
        samples.push_back(clock.ms());
      }
    }
    const json ms = statistics(samples);
    return {{"dtype", dtype()},
            {"rows", rows},
            {"depth", depth},
            {"ms", ms},
            {"tokens_per_s", 1000.0 * static_cast<double>(rows) / ms["median"].get<double>()}};
  }

  json tree(std::size_t nodes, std::size_t prefix) {
    const Sequence sequence = sequence_of(prefix);
    const TokenTree tree = random_tree(*model_, random_, nodes);
    std::vector<double> samples;
    for (std::size_t i = 0; i < 50 + kWarmUp; ++i) {
      const Clock clock;
      const TreeEvaluation evaluation = sequence.evaluate(tree);
      (void)evaluation.logits().argmax(nodes - 1);
      if (i >= kWarmUp) {
        samples.push_back(clock.ms());
      }
    }
    return {{"dtype", dtype()}, {"nodes", nodes}, {"prefix", prefix}, {"ms", statistics(samples)}};
  }

  /// A tree whose nodes each have some legal moves: its evaluation, and that with their
  /// log-probabilities, asked for row by row, all at once, and from rows brought to the host.
  json scores(std::size_t nodes, std::size_t prefix, std::size_t moves) {
    const Sequence sequence = sequence_of(prefix);
    const TokenTree tree = random_tree(*model_, random_, nodes);
    const std::vector<TokenId> legal = random_tokens(nodes * moves);
    std::vector<RowToken> asked;
    for (std::size_t i = 0; i < legal.size(); ++i) {
      asked.push_back({i / moves, legal[i]});
    }
    const auto measure = [&](const auto& read) {
      std::vector<double> samples;
      for (std::size_t i = 0; i < 50 + kWarmUp; ++i) {
        const Clock clock;
        const TreeEvaluation evaluation = sequence.evaluate(tree);
        read(evaluation.logits());
        if (i >= kWarmUp) {
          samples.push_back(clock.ms());
        }
      }
      return statistics(samples);
    };
    return {{"dtype", dtype()},
            {"nodes", nodes},
            {"prefix", prefix},
            {"moves", moves},
            {"evaluation_ms", measure([](const Logits&) {})},
            {"on_host_ms", measure([&](const Logits& logits) {
               std::vector<float> found;
               for (std::size_t row = 0; row < nodes; ++row) {
                 const std::span<const float> values = logits.row(row);
                 const float sum = kernels::log_sum_exp_cpu(
                     values.data(), static_cast<std::int64_t>(values.size()));
                 for (std::size_t i = row * moves; i < (row + 1) * moves; ++i) {
                   found.push_back(values[static_cast<std::size_t>(legal[i])] - sum);
                 }
               }
             })},
            {"row_by_row_ms", measure([&](const Logits& logits) {
               for (std::size_t row = 0; row < nodes; ++row) {
                 (void)logits.log_probabilities(std::span(legal).subspan(row * moves, moves), row);
               }
             })},
            {"at_once_ms",
             measure([&](const Logits& logits) { (void)logits.log_probabilities(asked); })}};
  }

  /// A token and the drawing of the next, of all tokens and of those that a constraint allows:
  /// where the logits are, and from the row brought to the host.
  json sampling() {
    TokenMask allowed(model_->info().vocab_size);
    for (const TokenId token : random_tokens(model_->info().vocab_size / 2)) {
      allowed.allow(token);
    }
    json found = json::array();
    for (const bool constrained : {false, true}) {
      for (const SamplingOptions& options :
           {SamplingOptions{.temperature = 0}, SamplingOptions{.temperature = 0.8, .top_k = 50},
            SamplingOptions{.temperature = 0.8, .top_p = 0.9}}) {
        Sampler sampler(options);
        const auto measure = [&](const auto& draw) {
          Sequence sequence = sequence_of(128);
          TokenId next = 1;
          std::vector<double> samples;
          for (std::size_t i = 0; i < kDecoded + kWarmUp; ++i) {
            if (sequence.length() >= 136) {
              sequence.rewind(128);
            }
            const Clock clock;
            const Logits logits = sequence.extend(std::span(&next, 1));
            next = draw(logits, SamplingContext{.position = i,
                                                .allowed = constrained ? &allowed : nullptr});
            if (i >= kWarmUp) {
              samples.push_back(clock.ms());
            }
          }
          return statistics(samples);
        };
        found.push_back(
            {{"dtype", dtype()},
             {"constrained", constrained},
             {"temperature", options.temperature},
             {"top_k", options.top_k},
             {"top_p", options.top_p},
             {"ms", measure([&](const Logits& logits, const SamplingContext& context) {
                return sampler.sample(logits, 0, context);
              })},
             {"from_row_ms", measure([&](const Logits& logits, const SamplingContext& context) {
                return sampler.sample(logits.row(0), context);
              })}});
      }
    }
    return found;
  }

  /// What a service meets: prompts of any length, then batches of any number of sequences. Hardly
  /// a shape comes twice in a row; those that came first are given apart.
  json varied() {
    constexpr std::size_t kCalls = 400;
    constexpr std::size_t kFirst = 100;
    std::uniform_int_distribution<std::size_t> any_length(9, 600);
    std::uniform_int_distribution<std::size_t> any_rows(9, 64);
    std::vector<Sequence> sequences;
    for (std::size_t row = 0; row < 64; ++row) {
      sequences.push_back(sequence_of(64));
    }
    const auto measure = [&](const auto& call) {
      std::vector<double> samples;
      for (std::size_t i = 0; i < kCalls; ++i) {
        samples.push_back(call());
      }
      const auto rest = samples.begin() + kFirst;
      return json{{"first", statistics({samples.begin(), rest})},
                  {"rest", statistics({rest, samples.end()})},
                  {"all_ms", std::accumulate(samples.begin(), samples.end(), 0.0)}};
    };
    const json prompts = measure([&] {
      const std::vector<TokenId> prompt = random_tokens(any_length(random_));
      Sequence sequence = model_->new_sequence();
      const Clock clock;
      (void)sequence.extend(prompt).argmax();
      return clock.ms();
    });
    const json batches = measure([&] {
      const TokenId next = 1;
      std::vector<Extension> extensions;
      for (std::size_t row = 0, rows = any_rows(random_); row < rows; ++row) {
        if (sequences[row].length() >= 128) {
          sequences[row].rewind(64);
        }
        extensions.push_back({&sequences[row], std::span(&next, 1)});
      }
      const Clock clock;
      (void)extend(extensions).front().argmax();
      return clock.ms();
    });
    return {{"dtype", dtype()}, {"prompts", prompts}, {"batches", batches}};
  }

  /// Greedy tokens with the cache and by recomputing everything, each the second time: plans for
  /// the lengths are then made.
  json speedup(std::size_t count) {
    std::vector<TokenId> cached;
    std::vector<TokenId> plain;
    double cached_ms = 0;
    double plain_ms = 0;
    for (int round = 0; round < 2; ++round) {
      cached.assign(1, 1);
      const Clock clock;
      Sequence sequence = model_->new_sequence();
      for (std::size_t i = 0; i < count; ++i) {
        cached.push_back(sequence.extend(std::span(&cached.back(), 1)).argmax());
      }
      cached_ms = clock.ms();
      plain.assign(1, 1);
      const Clock plain_clock;
      for (std::size_t i = 0; i < count; ++i) {
        plain.push_back(model_->forward_without_cache(plain).argmax());
      }
      plain_ms = plain_clock.ms();
    }
    return {{"dtype", dtype()},
            {"new_tokens", count},
            {"cached_ms", cached_ms},
            {"uncached_ms", plain_ms},
            {"tokens_equal", cached == plain}};
  }

  [[nodiscard]] static std::size_t driver_bytes() {
    std::size_t free = 0;
    std::size_t total = 0;
    cudaMemGetInfo(&free, &total);
    return total - free;
  }

  /// One sequence's cache, as the specification has it.
  json memory() {
    Sequence sequence = model_->new_sequence();  // the model stays warm
    const ModelInfo& info = model_->info();
    ModelOptions options;
    options.require_device = Device::cuda;
    options.block_len = info.max_seq_len;
    options.cache_bytes = info.cache_bytes_per_token() * info.max_seq_len;
    const Model one = Model::load(path_, options);
    const std::size_t before = driver_bytes();
    one.reserve_cache(info.max_seq_len);
    return {{"dtype", dtype()},
            {"allocated_bytes", one.cache_stats().bytes_allocated},
            {"formula_bytes", options.cache_bytes},
            {"driver_bytes_before", before},
            {"driver_bytes_after", driver_bytes()}};
  }

  void count_activity(json& result) {
    Sequence sequence = sequence_of(512);
    TokenId next = 1;
    for (std::size_t i = 0; i < kWarmUp; ++i) {
      next = sequence.extend(std::span(&next, 1)).argmax();
    }
    model_->reserve_cache(2048);
    DeviceActivity activity;
    for (std::size_t i = 0; i < kDecoded; ++i) {
      next = sequence.extend(std::span(&next, 1)).argmax();
    }
    activity.finish();
    result["copies"] = {{"dtype", dtype()},
                        {"tokens", kDecoded},
                        {"host_to_device", activity.host_to_device},
                        {"device_to_host", activity.device_to_host},
                        {"device_to_device", activity.device_to_device},
                        {"kernels", activity.kernels},
                        {"allocations", activity.allocations}};
    json kernels = json::array();
    for (const auto& [name, kernel] : activity.by_kernel) {
      kernels.push_back({{"name", short_name(name)},
                         {"count", static_cast<double>(kernel.count) / kDecoded},
                         {"us", kernel.microseconds / kDecoded}});
    }
    result["profile"] = {{"dtype", dtype()}, {"depth", 512}, {"kernels", kernels}};
  }

  /// "linear_one_row_kernel<__half, 256, 6, true>" of a mangled name.
  static std::string short_name(const std::string& mangled) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> readable(
        abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), &std::free);
    std::string name = status == 0 ? readable.get() : mangled;
    name = name.substr(0, name.rfind('('));
    for (const std::string part : {"void ", "kvcache::kernels::", "(anonymous namespace)::"}) {
      for (auto at = name.find(part); at != std::string::npos; at = name.find(part)) {
        name.erase(at, part.size());
      }
    }
    return name;
  }

  json steady(std::size_t tokens) {
    Sequence sequence = model_->new_sequence();
    TokenId next = 1;
    std::size_t first = 0;
    const Clock clock;
    for (std::size_t i = 0; i < tokens; ++i) {
      if (!sequence.fits(1)) {
        sequence.reset();
      }
      next = sequence.extend(std::span(&next, 1)).argmax();
      if (i == 2000) {
        first = driver_bytes();
      }
    }
    return {{"dtype", dtype()},
            {"tokens", tokens},
            {"driver_bytes_first", first},
            {"driver_bytes_last", driver_bytes()},
            {"ms_per_token", clock.ms() / static_cast<double>(tokens)}};
  }

  std::string path_;
  Clock load_;
  std::unique_ptr<Model> model_;
  std::mt19937_64 random_{7};
  TokenId first_ = 0;
  double load_ms_ = 0;
  double cold_ms_ = 0;
};

}  // namespace
}  // namespace kvcache::bench

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto given = [&](const char* flag) {
    return std::ranges::find(arguments, flag) != arguments.end();
  };
  if (arguments.size() < 2) {
    std::cerr
        << "usage: gpu_bench MODEL_DIR OUTPUT.json [--decode-only | --few-only | --steps-only] "
           "[--no-fusing]\n";
    return 2;
  }
  try {
    kvcache::AtomicFile file(arguments[1]);  // before the work that it would lose
    kvcache::bench::Bench bench(arguments[0], !given("--no-fusing"), {});
    const nlohmann::json result = given("--decode-only")  ? bench.run_decode()
                                  : given("--few-only")   ? bench.run_few()
                                  : given("--steps-only") ? bench.run_steps()
                                                          : bench.run();
    file.write(result.dump(1) + "\n");
    file.commit();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
