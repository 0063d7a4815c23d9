// Threads for the pool of an ONNX Runtime session.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstddef>
#include <future>
#include <memory>
#include <thread>
#include <vector>

namespace kvcache::device {

/// The threads that a session's pool will ask for, made before the session: ONNX Runtime (1.31)
/// waits for ever for the workers it has where the system refuses it a later one, for a worker ends
/// only once as many wait as there should be. Must outlive the session.
class SessionThreads {
 public:
  /// For a pool of so many, whose first is the thread that runs the session.
  /// @throws std::system_error where the system refuses one
  explicit SessionThreads(int num_threads);

  /// Makes sessions with these options have a pool of these threads.
  void add_to(Ort::SessionOptions& options);

 private:
  /// A thread that waits for what it is to do; without that it ends when this does.
  class Waiting {
   public:
    Waiting();
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting();

    void start(OrtThreadWorkerFn worker, void* param);
    void join();

   private:
    struct Work {
      OrtThreadWorkerFn worker = nullptr;
      void* param = nullptr;
    };

    std::promise<Work> work_;
    bool started_ = false;
    std::thread thread_;
  };

  static OrtCustomThreadHandle create(void* threads, OrtThreadWorkerFn worker, void* param);
  static void join(OrtCustomThreadHandle thread);

  std::vector<std::unique_ptr<Waiting>> threads_;
  std::size_t taken_ = 0;
};

}  // namespace kvcache::device
