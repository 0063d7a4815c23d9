#include "interrupt.hpp"

#include <csignal>

namespace kvcache::cli {
namespace {

volatile std::sig_atomic_t interrupt_seen = 0;

extern "C" void note_interrupt(int /*signal*/) { interrupt_seen = 1; }

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = note_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one takes its usual course
  ::sigaction(SIGINT, &action, nullptr);
}

bool interrupted() noexcept { return interrupt_seen != 0; }

void throw_if_interrupted() {
  if (interrupted()) {
    throw Interrupted();
  }
}

}  // namespace kvcache::cli
