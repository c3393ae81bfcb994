// How a thread says that it waits for what it evaluates.
#ifndef MLX_GUARD_SCHEDULER_H
#define MLX_GUARD_SCHEDULER_H

// 1 when it begins to wait, -1 when it has ended. Looked up by name: only there where libmlxguard is loaded.
extern "C" void mlx_guard_waits(int more);

#endif
