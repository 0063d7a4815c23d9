#include "selfplay/outputs.hpp"

#include "selfplay/records.hpp"

namespace trigo {

Outputs::Outputs(const OutputNames& names) : tgn_(names.tgn) {
  if (!names.data.empty()) {
    data_.emplace(names.data);
  }
  if (!names.trace.empty()) {
    trace_.emplace(names.trace);
  }
  if (!tgn_.empty()) {
    std::filesystem::create_directories(tgn_);
  }
}

void Outputs::add(const PlayedGame& game) {
  if (data_) {
    data_->write(data_line(game));
  }
  if (trace_) {
    trace_->write(game.trace);
  }
  if (!tgn_.empty()) {
    write_tgn(game, tgn_);
  }
}

void Outputs::commit() {
  if (data_) {
    data_->commit();
  }
  if (trace_) {
    trace_->commit();
  }
}

}  // namespace trigo
