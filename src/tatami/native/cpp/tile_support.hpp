// Whether this process may use the processor's tiles, found out once and proved by computing.
#pragma once

#include <string>

#include "tile_table.hpp"

namespace tatami {

// What stands in the way, or an empty string: the processor, the operating system, or a wrong product.
const std::string& tiles_missing();
// One line on how the tiles were checked; empty where there are none.
const std::string& tiles_checked();

// Compare tile kernels with the emulation on known products: an empty string, or what differs. `exact` says whether all bits agreed.
std::string compare_tiles(const TileKernels& tiles, const TileKernels& emulation, bool& exact);

// The emulation for the vectors of this processor; null where none is built.
const TileKernels* emulated_tiles();

// Violations of the tiles' rules that the emulation has seen, and the first one.
void report_tile_misuse(const char* what);
int tile_misuses();
std::string first_tile_misuse();

}  // namespace tatami
