// The rounds of overhead.py in C++, as a module of Python so that both alternate in one process.

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <onnxruntime_cxx_api.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "kvcache/evaluator.hpp"
#include "kvcache/model.hpp"

namespace {

namespace nb = nanobind;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

class Rounds {
 public:
  Rounds(const std::filesystem::path& model, int num_threads)
      : model_(kvcache::Model::load(model, options(num_threads))) {}

  /// Seconds that decoding so many tokens greedily takes, one extend() each.
  [[nodiscard]] double extend(std::size_t tokens) const {
    kvcache::Sequence sequence = model_.new_sequence();
    kvcache::TokenId token = 1;
    token = sequence.extend({&token, 1}).argmax();
    const Clock::time_point began = Clock::now();
    for (std::size_t i = 0; i < tokens; ++i) {
      token = sequence.extend({&token, 1}).argmax();
    }
    return seconds_since(began);
  }

  /// Seconds that as many clients take for so many tokens each, through one Evaluator.
  [[nodiscard]] double evaluate(std::size_t clients, std::size_t texts, std::size_t tokens) const {
    kvcache::Evaluator evaluator(model_);
    const Clock::time_point began = Clock::now();
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < clients; ++i) {
      threads.emplace_back([&] {
        kvcache::EvaluatorClient client = evaluator.register_client();
        for (std::size_t text = 0; text < texts; ++text) {
          const auto sequence = std::make_shared<kvcache::Sequence>(evaluator.new_sequence());
          kvcache::TokenId token = 1;
          for (std::size_t j = 0; j < tokens; ++j) {
            token = client.answer(kvcache::ExtendRequest{sequence, {token}}).result.argmax();
          }
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    return seconds_since(began);
  }

 private:
  static kvcache::ModelOptions options(int num_threads) {
    kvcache::ModelOptions options;
    options.num_threads = num_threads;
    return options;
  }

  kvcache::Model model_;
};

}  // namespace

NB_MODULE(cpp_rounds, module) {
  if (OrtGetApiBase()->GetApi(ORT_API_VERSION) == nullptr) {
    throw nb::import_error(
        "cpp_rounds found no ONNX Runtime; import kvcache first, which loads it");
  }
  nb::class_<Rounds>(module, "Rounds")
      .def(nb::init<const std::filesystem::path&, int>())
      .def("extend", &Rounds::extend, nb::call_guard<nb::gil_scoped_release>())
      .def("evaluate", &Rounds::evaluate, nb::call_guard<nb::gil_scoped_release>());
}
