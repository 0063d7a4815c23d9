#include "device/cpu/session_threads.hpp"

namespace kvcache::device {

SessionThreads::SessionThreads(int num_threads) {
  for (int thread = 1; thread < num_threads; ++thread) {
    threads_.push_back(std::make_unique<Waiting>());
  }
}

void SessionThreads::add_to(Ort::SessionOptions& options) {
  options.SetIntraOpNumThreads(static_cast<int>(threads_.size()) + 1);
  options.SetCustomCreateThreadFn(&create);
  options.SetCustomThreadCreationOptions(this);
  options.SetCustomJoinThreadFn(&join);
}

OrtCustomThreadHandle SessionThreads::create(void* threads, OrtThreadWorkerFn worker, void* param) {
  auto& all = *static_cast<SessionThreads*>(threads);
  if (all.taken_ == all.threads_.size()) {
    return nullptr;  // ONNX Runtime makes an error of it
  }
  Waiting& thread = *all.threads_[all.taken_++];
  thread.start(worker, param);
  return reinterpret_cast<OrtCustomThreadHandle>(&thread);
}

void SessionThreads::join(OrtCustomThreadHandle thread) {
  // The handle is a pointer to a const type that ONNX Runtime leaves undefined.
  reinterpret_cast<Waiting*>(const_cast<OrtCustomHandleType*>(thread))->join();
}

SessionThreads::Waiting::Waiting() {
  thread_ = std::thread([work = work_.get_future()]() mutable {
    const Work given = work.get();
    if (given.worker != nullptr) {
      given.worker(given.param);
    }
  });
}

SessionThreads::Waiting::~Waiting() {
  if (!started_) {
    work_.set_value({});
  }
  join();
}

void SessionThreads::Waiting::start(OrtThreadWorkerFn worker, void* param) {
  started_ = true;
  work_.set_value({worker, param});
}

void SessionThreads::Waiting::join() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

}  // namespace kvcache::device
