// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// From reset to main(): stack painted so that its use can be measured, bss cleared, traps caught. The loader has put
// .data where it belongs.
    .section .text.start, "ax"
    .globl _start
_start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la tp, __tls_start
    la t0, board_trap
    csrw mtvec, t0
    la t0, stack_bottom
    la sp, stack_top
    li t1, 0xA5A5A5A5
1:  sw t1, 0(t0)
    addi t0, t0, 4
    bltu t0, sp, 1b
    la t0, __bss_start
    la t1, __bss_end
2:  bgeu t0, t1, 3f
    sw zero, 0(t0)
    addi t0, t0, 4
    j 2b
3:  call main
4:  wfi
    j 4b

    // A trap is a defect: say so and stop, on whatever stack there is.
    .balign 4
board_trap:
    la sp, stack_top
    csrr a0, mcause
    csrr a1, mepc
    call board_trapped
5:  j 5b

    .text
    .globl board_wake_on
board_wake_on:
    csrw mie, a0
    ret
