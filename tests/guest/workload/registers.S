// SPDX-License-Identifier: GPL-2.0-or-later
// void hold_registers(const struct registers* in, struct registers* out, uint64_t spins,
//                     uint64_t rounds, const struct timespec* pause, uint64_t avx)
//
// Loads all registers that a program has but those that a system call takes, keeps them for
// `rounds` times `spins` turns of a loop and a sleep of `pause`, and stores what they are then.
// Nothing between looks at them: what changes is not this program's doing. (See registers.h.)

.set fx, 0
.set ymm, 512
.set general, 1024
// On the stack: the caller's own state, and what there is no register for.
.set frame, 576
.set caller, 512
.set result, 520
.set has_avx, 528

.macro each_ymm move, base
.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
.ifc \move, load
    vmovups ymm + 32 * \n(\base), %ymm\n
.else
    vmovups %ymm\n, ymm + 32 * \n(\base)
.endif
.endr
.endm

    .text
    .globl hold_registers
    .type hold_registers, @function
hold_registers:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rax
    sub $frame, %rsp
    and $-64, %rsp
    mov %rax, caller(%rsp)
    mov %rsi, result(%rsp)
    mov %r9, has_avx(%rsp)
    fxsave64 (%rsp)
    test %r9, %r9
    jz 1f
    each_ymm load, %rdi
1:  fxrstor64 fx(%rdi)
    mov %rdi, %rax
    mov %r8, %rdi // nanosleep's first argument; the second is none
    xor %esi, %esi
    mov %rcx, %r8
    mov general(%rax), %rbx
    mov general + 8(%rax), %rbp
    mov general + 16(%rax), %r9
    mov general + 24(%rax), %r10
    mov general + 32(%rax), %r12
    mov general + 40(%rax), %r13
    mov general + 48(%rax), %r14
    mov general + 56(%rax), %r15
2:  mov %rdx, %rcx
3:  sub $1, %rcx
    jnz 3b
    mov $35, %eax
    syscall // changes rax, rcx and r11
    sub $1, %r8
    jnz 2b
    mov result(%rsp), %rax
    fxsave64 fx(%rax)
    mov %rbx, general(%rax)
    mov %rbp, general + 8(%rax)
    mov %r9, general + 16(%rax)
    mov %r10, general + 24(%rax)
    mov %r12, general + 32(%rax)
    mov %r13, general + 40(%rax)
    mov %r14, general + 48(%rax)
    mov %r15, general + 56(%rax)
    cmpq $0, has_avx(%rsp)
    je 4f
    each_ymm store, %rax
    vzeroupper
4:  fxrstor64 (%rsp)
    mov caller(%rsp), %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size hold_registers, . - hold_registers
    .section .note.GNU-stack, "", @progbits
