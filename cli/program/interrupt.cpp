#include "program/interrupt.hpp"

#include <csignal>

namespace kvcache::cli {
namespace {

volatile std::sig_atomic_t signal_seen = 0;

extern "C" void note_signal(int signal) { signal_seen = signal; }

void catch_signal(int signal) {
  struct sigaction before {};
  ::sigaction(signal, nullptr, &before);
  if (before.sa_handler == SIG_IGN) {
    return;
  }
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one takes its usual course
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

Interrupted::Interrupted(int signal)
    : signal_(signal),
      what_(signal == SIGTERM  ? "ended by SIGTERM"
            : signal == SIGHUP ? "ended by SIGHUP"
                               : "interrupted") {}

void catch_interrupts() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    catch_signal(signal);
  }
  std::signal(SIGXFSZ, SIG_IGN);
}

bool interrupted() noexcept { return signal_seen != 0; }

void throw_if_interrupted() {
  if (interrupted()) {
    throw Interrupted(signal_seen);
  }
}

}  // namespace kvcache::cli
