// What several processors may rely on of each other: atomics, the memory model, TLB and instruction cache maintenance,
// interrupts between processors, the timer, and PSCI. A program without an operating system for the memory map of the
// machine; every processor runs every test, the first one prints what came out and powers off.
//
// Kept throughout: x19 number of this processor, x21 number of processors. Tests return 0 in x0 if all is well, and
// may change x0 to x17; x28 and x29 hold return addresses.

	.equ	UART, 0x09000000
	.equ	GICD, 0x08000000
	.equ	GICR, 0x080a0000
	.equ	WINDOW, 0x80000000	// one page, mapped here and there
	.equ	ROUNDS, 3000
	.equ	SLOTS, 2048		// of the litmus tests

	.equ	CPU_OFF, 0x84000002
	.equ	CPU_ON, 0xc4000003
	.equ	AFFINITY_INFO, 0xc4000004
	.equ	SYSTEM_OFF, 0x84000008

	.macro	call number
	movz	w0, #(\number & 0xffff)
	movk	w0, #(\number >> 16), lsl #16
	hvc	#0
	.endm

	// All processors begin together; the first tells whether one found fault.
	.macro	test name
	bl	barrier
	bl	\name
	adr	x1, faults
	ldaddal	x0, x2, [x1]
	bl	barrier
	cbnz	x19, 100f
	adr	x0, 101f
	bl	print
	bl	verdict
	b	100f
101:	.asciz	"\name"
	.balign	4
100:
	.endm

	.text
start:
	b	primary
cpus:	.word	2			// the loader's to change

primary:
	mov	x19, #0
	bl	make_tables
	bl	set_up
	mov	x22, #1
1:	cmp	x22, x21
	b.ge	tests
	mov	x1, x22
	adr	x2, secondary
	mov	x3, x22
	call	CPU_ON
	cbnz	x0, refused
	add	x22, x22, #1
	b	1b

secondary:
	mov	x19, x0
	bl	set_up

tests:
	test	lock_exclusive
	test	lock_swap
	test	lock_compare
	test	count_exclusive
	test	count_atomic
	test	pair_exclusive
	test	pair_compare
	test	bytes_of_a_word
	test	message_by_barriers
	test	message_by_release
	test	store_buffers
	test	store_buffers_release
	test	remapped_page
	test	changed_code
	bl	gic_set_up
	test	interrupts_round
	test	timers
	test	off_and_on
	cbnz	x19, 1f
	adr	x0, done
	bl	print
	call	SYSTEM_OFF
1:	wfi
	b	1b

refused:
	adr	x0, no_cpu
	bl	print
	call	SYSTEM_OFF

done:	.asciz	"done\n"
no_cpu:	.asciz	"CPU_ON refused\n"
ok:	.asciz	": ok\n"
bad:	.asciz	": bad\n"
odd:	.asciz	"unexpected exception\n"
	.balign	4

// ---- Locks: a plain counter is safe under each.

	.macro	hold_lock, lock, count
	adr	x5, \lock
	adr	x6, \count
	mov	x7, #ROUNDS
	.endm

	.macro	count_and_check
	ldr	x3, [x6]
	add	x3, x3, #1
	str	x3, [x6]
	stlr	wzr, [x5]
	subs	x7, x7, #1
	b.ne	1b
	b	check_count
	.endm

lock_exclusive:
	hold_lock lock1, count1
1:	mov	w0, #1
2:	ldaxr	w1, [x5]
	cbnz	w1, 2b
	stxr	w2, w0, [x5]
	cbnz	w2, 2b
	count_and_check

lock_swap:
	hold_lock lock2, count2
1:	mov	w0, #1
2:	swpa	w0, w1, [x5]
	cbnz	w1, 2b
	count_and_check

lock_compare:
	hold_lock lock3, count3
1:	mov	w0, #1
2:	mov	w1, wzr
	casa	w1, w0, [x5]
	cbnz	w1, 2b
	count_and_check

// The counter at x6 has every round of every processor.
check_count:
	mov	x28, x30
	bl	barrier
	mov	x0, #ROUNDS
	mul	x0, x0, x21
	ldr	x1, [x6]
	cmp	x0, x1
	cset	x0, ne
	ret	x28

// ---- Counters without a lock.

count_exclusive:
	adr	x6, count4
	mov	x7, #ROUNDS
1:	ldxr	x0, [x6]
	add	x0, x0, #1
	stxr	w1, x0, [x6]
	cbnz	w1, 1b
	subs	x7, x7, #1
	b.ne	1b
	b	check_count

count_atomic:
	adr	x6, count5
	mov	x7, #ROUNDS
	mov	x0, #1
1:	stadd	x0, [x6]
	subs	x7, x7, #1
	b.ne	1b
	b	check_count

// Both halves of a pair change together.
pair_exclusive:
	adr	x6, pair1
	mov	x7, #ROUNDS
	mov	x8, #0
1:	ldxp	x0, x1, [x6]
	eor	x4, x0, x1
	add	x2, x0, #1
	add	x3, x1, #1
	stxp	w5, x2, x3, [x6]
	cbnz	w5, 1b
	orr	x8, x8, x4
	subs	x7, x7, #1
	b.ne	1b
	b	check_pair

pair_compare:
	adr	x6, pair2
	mov	x7, #ROUNDS
	mov	x8, #0
1:	ldp	x0, x1, [x6]
2:	mov	x4, x0
	mov	x5, x1
	add	x2, x0, #1
	add	x3, x1, #1
	caspal	x0, x1, x2, x3, [x6]
	cmp	x0, x4
	ccmp	x1, x5, #0, eq
	b.ne	2b
	eor	x4, x0, x1
	orr	x8, x8, x4
	subs	x7, x7, #1
	b.ne	1b

check_pair:
	mov	x29, x30
	bl	check_count
	ldr	x1, [x6, #8]!
	ldr	x2, [x6, #-8]
	cmp	x1, x2
	csinc	x0, x0, xzr, eq
	cmp	x8, #0
	csinc	x0, x0, xzr, eq
	ret	x29

// Each processor has a byte of one word, changed with exclusives by the even ones and plainly by the odd ones.
bytes_of_a_word:
	adr	x6, bytes
	add	x6, x6, x19
	mov	x7, #ROUNDS
	mov	w8, #0
	mov	x0, #0
1:	tbnz	x19, #0, 2f
3:	ldxrb	w1, [x6]
	add	w2, w1, #1
	stxrb	w3, w2, [x6]
	cbnz	w3, 3b
	b	4f
2:	ldrb	w1, [x6]
	add	w2, w1, #1
	strb	w2, [x6]
4:	and	w8, w8, #0xff
	cmp	w1, w8
	csinc	x0, x0, xzr, eq
	add	w8, w8, #1
	subs	x7, x7, #1
	b.ne	1b
	ret

// ---- The memory model (Arm ARM B2.3): shapes that must not be seen.

// MP: who sees the flag sees the data.
message_by_barriers:
	adr	x6, messages1
	mov	x7, #SLOTS
	mov	x8, #1
	mov	x0, #0
	cbnz	x19, 2f
1:	str	x8, [x6]
	dmb	ishst
	str	x8, [x6, #8]
	add	x6, x6, #16
	subs	x7, x7, #1
	b.ne	1b
	ret
2:	ldr	x1, [x6, #8]
	cbz	x1, 2b
	dmb	ishld
	ldr	x1, [x6]
	cmp	x1, #0
	csinc	x0, x0, xzr, ne
	add	x6, x6, #16
	subs	x7, x7, #1
	b.ne	2b
	ret

message_by_release:
	adr	x6, messages2
	mov	x7, #SLOTS
	mov	x8, #1
	mov	x0, #0
	cbnz	x19, 2f
1:	str	x8, [x6], #8
	stlr	x8, [x6]
	add	x6, x6, #8
	subs	x7, x7, #1
	b.ne	1b
	ret
2:	add	x5, x6, #8
3:	ldar	x1, [x5]
	cbz	x1, 3b
	ldr	x1, [x6], #16
	cmp	x1, #0
	csinc	x0, x0, xzr, ne
	subs	x7, x7, #1
	b.ne	2b
	ret

// SB: of two that store and then load what the other stored, one at least sees the other's.
store_buffers:
	mov	x17, #0
	adr	x6, buffers1
	b	1f
store_buffers_release:
	mov	x17, #1
	adr	x6, buffers2
1:	mov	x29, x30
	mov	x7, #0
	mov	x10, #1
	add	x11, x6, x19, lsl #14	// ours
	eor	x12, x19, #1
	add	x12, x6, x12, lsl #14	// the other's
	add	x13, x11, #2 * 16384	// what we saw there
	cmp	x19, #2
	b.ge	5f
2:	lsl	x14, x7, #3
	add	x15, x11, x14
	add	x16, x12, x14
	cbnz	x17, 3f
	str	x10, [x15]
	dmb	ish
	ldr	x1, [x16]
	b	4f
3:	stlr	x10, [x15]
	ldar	x1, [x16]
4:	str	x1, [x13, x14]
	// The next slot once both have been here, so at about the same time.
	ldr	x2, [x16]
	cbz	x2, 4b
	add	x7, x7, #1
	cmp	x7, #SLOTS
	b.ne	2b
5:	bl	barrier
	mov	x0, #0
	mov	x7, #0
	add	x11, x6, #2 * 16384
	add	x12, x6, #3 * 16384
6:	ldr	x1, [x11, x7, lsl #3]
	ldr	x2, [x12, x7, lsl #3]
	orr	x1, x1, x2
	cmp	x1, #0
	csinc	x0, x0, xzr, ne
	add	x7, x7, #1
	cmp	x7, #SLOTS
	b.ne	6b
	ret	x29

// ---- Maintenance that reaches the others (Arm ARM D8.14, B2.4.4).

// One moves a page between two places, by break-before-make; each place holds the number of the move that made it
// current. Who knows of a move sees that number, or a later one. The mover stays two moves ahead of the second processor
// at most.
remapped_page:
	adr	x5, last_table
	adr	x8, moves
	movz	x9, #(WINDOW >> 16), lsl #16
	mov	x0, #0
	cbnz	x19, 2f
	adr	x6, page_a
	adr	x7, page_b
	mov	x10, #0
	mov	x11, #0x707		// page, AF, inner shareable, MAIR 1
	add	x14, x8, #64
1:	ldar	x12, [x14]
	add	x12, x12, #2
	cmp	x10, x12
	b.hi	1b
	add	x10, x10, #1
	tst	x10, #1
	csel	x12, x6, x7, ne
	str	x10, [x12]
	dmb	ish
	str	xzr, [x5]
	dsb	ishst
	lsr	x13, x9, #12
	tlbi	vaae1is, x13
	dsb	ish
	orr	x12, x12, x11
	str	x12, [x5]
	dsb	ishst
	isb
	ldr	x13, [x9]
	cmp	x13, x10
	csinc	x0, x0, xzr, eq
	stlr	x10, [x8]
	cmp	x10, #ROUNDS / 2
	b.ne	1b
	ret
2:	ldar	x10, [x8]
	cbz	x10, 2b
	ldr	x11, [x9]		// faults while there is no page, and is tried again
	cmp	x11, x10
	csinc	x0, x0, xzr, hs
	cmp	x19, #1
	b.ne	3f
	add	x14, x8, #64
	stlr	x10, [x14]
3:	cmp	x10, #ROUNDS / 2
	b.ne	2b
	ret

// One writes code, the others run it.
changed_code:
	mov	x29, x30
	adr	x6, code
	mov	x7, #ROUNDS / 8
	mov	x8, #0
1:	cbnz	x19, 2f
	movz	w1, #0xd280, lsl #16	// MOVZ X0, #round
	orr	w1, w1, w7, lsl #5
	str	w1, [x6]
	movz	w1, #0x03c0		// RET
	movk	w1, #0xd65f, lsl #16
	str	w1, [x6, #4]
	dc	cvau, x6
	dsb	ish
	ic	ivau, x6
	dsb	ish
2:	bl	barrier
	isb
	blr	x6
	cmp	x0, x7
	csinc	x8, x8, xzr, eq
	bl	barrier
	subs	x7, x7, #1
	b.ne	1b
	mov	x0, x8
	ret	x29

// ---- Interrupts.

// An SGI goes from each processor to the next, many times round.
interrupts_round:
	mov	x29, x30
	mov	x7, #1
	add	x8, x19, #1
	cmp	x8, x21
	csel	x8, xzr, x8, eq		// the next processor
	mov	x9, #1
	lsl	x9, x9, x8
	cbnz	x19, 1f
	msr	s3_0_c12_c11_5, x9	// ICC_SGI1R_EL1
1:	mov	x0, #0
	mov	x1, x7
	bl	await
	cbnz	x19, 2f
	cmp	x7, #ROUNDS / 6
	b.eq	3f			// the first ends the last round
2:	msr	s3_0_c12_c11_5, x9
3:	add	x7, x7, #1
	cmp	x7, #ROUNDS / 6
	b.le	1b
	mov	x0, #0
	ret	x29

// The virtual timer ends a WFI, and not too early.
timers:
	mov	x29, x30
	mov	x7, #1
	mov	x8, #0
1:	isb
	mrs	x9, cntvct_el0
	add	x9, x9, #300
	msr	cntv_cval_el0, x9
	mov	x0, #1
	msr	cntv_ctl_el0, x0
	isb
	mov	x0, #27
	mov	x1, x7
	bl	await
	isb
	mrs	x1, cntvct_el0
	cmp	x1, x9
	csinc	x8, x8, xzr, hs
	add	x7, x7, #1
	cmp	x7, #100
	b.le	1b
	mov	x0, x8
	ret	x29

// Waits until interrupt x0 was taken x1 times.
await:	adr	x2, taken
	add	x2, x2, x19, lsl #8
	add	x2, x2, x0, lsl #3
1:	msr	daifset, #2
	ldr	x3, [x2]
	cmp	x3, x1
	b.ge	2f
	wfi
	msr	daifclr, #2		// it is taken here
	isb
	b	1b
2:	msr	daifclr, #2
	ret

// ---- The last processor goes off and comes back.

off_and_on:
	mov	x29, x30
	sub	x6, x21, #1
	mov	x7, #20
	mov	x8, #0
	cmp	x19, x6
	b.eq	4f
	mov	x0, #0
	cbnz	x19, 3f
1:	mov	x1, x6
	mov	x2, #0
	call	AFFINITY_INFO
	cmp	x0, #1			// OFF
	b.ne	1b
	mov	x1, x6
	adr	x2, again
	mov	x3, x7
	call	CPU_ON
	orr	x8, x8, x0
	subs	x7, x7, #1
	b.ne	1b
	mov	x0, x8
3:	ret	x29
4:	adr	x0, kept_link
	str	x29, [x0]
	mov	x0, #20
5:	mov	x7, x0
	call	CPU_OFF
	b	fault			// it does not return
again:	mov	x7, x0
	ldr	w19, cpus
	sub	w19, w19, #1
	bl	set_up
	subs	x0, x7, #1
	b.ne	5b
	ldr	x29, kept_link
	ret	x29

	.balign	8
kept_link: .quad 0

// ---- Below: what the tests stand on.

// All processors meet. Changes x0 to x4.
barrier:
	adr	x0, arrived
	add	x1, x0, #64
	ldar	w2, [x1]
	mov	w3, #1
	ldaddal	w3, w4, [x0]
	add	w4, w4, #1
	cmp	w4, w21
	b.ne	1f
	str	wzr, [x0]
	add	w2, w2, #1
	stlr	w2, [x1]
	sev
	ret
1:	ldar	w4, [x1]
	cmp	w4, w2
	b.ne	2f
	wfe
	b	1b
2:	ret

verdict:
	mov	x28, x30
	adr	x1, faults
	ldr	x2, [x1]
	str	xzr, [x1]
	adr	x0, ok
	adr	x1, bad
	cmp	x2, #0
	csel	x0, x0, x1, eq
	bl	print
	ret	x28

// Prints the text at x0.
print:	movz	x1, #(UART >> 16), lsl #16
1:	ldrb	w2, [x0], #1
	cbz	w2, 2f
	str	w2, [x1]
	b	1b
2:	ret

// The first GiB is devices, the second memory; the third has one page to be moved.
make_tables:
	adr	x0, first_table
	movz	x1, #0x401		// block, AF, MAIR 0
	movk	x1, #0x60, lsl #48	// UXN, PXN
	str	x1, [x0]
	movz	x1, #0x705		// block, AF, inner shareable, MAIR 1
	movk	x1, #0x4000, lsl #16
	str	x1, [x0, #8]
	adr	x1, second_table
	orr	x2, x1, #3
	str	x2, [x0, #16]
	adr	x2, last_table
	orr	x2, x2, #3
	str	x2, [x1]
	dsb	sy
	ret

// Registers of this processor, its stack, vectors and translation.
set_up:
	adr	x0, vectors
	msr	vbar_el1, x0
	adr	x0, stacks
	add	x1, x19, #1
	add	x0, x0, x1, lsl #10
	mov	sp, x0
	ldr	w21, cpus
	mov	x0, #0xff00		// MAIR 0 Device-nGnRnE, 1 Normal write-back
	msr	mair_el1, x0
	movz	x0, #0x3519		// T0SZ 25, cacheable and inner shareable walks
	movk	x0, #0x0080, lsl #16	// EPD1
	msr	tcr_el1, x0
	adr	x0, first_table
	msr	ttbr0_el1, x0
	dsb	sy
	isb
	tlbi	vmalle1
	dsb	nsh
	movz	x0, #0x1805		// I, C, M and what is RES1
	movk	x0, #0x30d0, lsl #16
	msr	sctlr_el1, x0
	isb
	ret

gic_set_up:
	mov	x28, x30
	movz	x0, #(GICD >> 16), lsl #16
	mov	w1, #0x13		// ARE, both groups
	cbnz	x19, 1f
	str	w1, [x0]
1:	bl	barrier
	movz	x0, #(GICR & 0xffff)
	movk	x0, #(GICR >> 16), lsl #16
	add	x0, x0, x19, lsl #17
	ldr	w1, [x0, #0x14]		// GICR_WAKER
	and	w1, w1, #~2
	str	w1, [x0, #0x14]
2:	ldr	w1, [x0, #0x14]
	tbnz	w1, #2, 2b
	add	x0, x0, #0x10000
	mov	w1, #-1
	str	w1, [x0, #0x80]		// GICR_IGROUPR0
	movz	w1, #0xa0a0
	movk	w1, #0xa0a0, lsl #16
	mov	x2, #0
3:	add	x3, x0, x2
	str	w1, [x3, #0x400]	// GICR_IPRIORITYR
	add	x2, x2, #4
	cmp	x2, #32
	b.ne	3b
	movz	w1, #3
	movk	w1, #0x800, lsl #16
	str	w1, [x0, #0x100]	// GICR_ISENABLER0: SGI 0 and 1, the virtual timer
	mrs	x1, s3_0_c12_c12_5	// ICC_SRE_EL1
	orr	x1, x1, #1
	msr	s3_0_c12_c12_5, x1
	isb
	mov	x1, #0xf0
	msr	s3_0_c4_c6_0, x1	// ICC_PMR_EL1
	mov	x1, #1
	msr	s3_0_c12_c12_7, x1	// ICC_IGRPEN1_EL1
	isb
	msr	daifclr, #2
	ret	x28

fault:	adr	x0, odd
	bl	print
	call	SYSTEM_OFF

// An abort of the page that is being moved is tried again; anything else ends the run.
synchronous:
	stp	x0, x1, [sp, #-16]!
	mrs	x0, esr_el1
	lsr	x0, x0, #26
	cmp	x0, #0x25		// data abort of this level
	b.ne	fault
	mrs	x0, far_el1
	movz	x1, #(WINDOW >> 16), lsl #16
	cmp	x0, x1
	b.ne	fault
	ldp	x0, x1, [sp], #16
	eret

interrupt:
	stp	x0, x1, [sp, #-32]!
	stp	x2, x3, [sp, #16]
	mrs	x0, s3_0_c12_c12_0	// ICC_IAR1_EL1
	and	x1, x0, #0xffffff
	cmp	x1, #32
	b.hs	1f
	adr	x2, taken
	add	x2, x2, x19, lsl #8
	ldr	x3, [x2, x1, lsl #3]
	add	x3, x3, #1
	str	x3, [x2, x1, lsl #3]
	cmp	x1, #27
	b.ne	2f
	msr	cntv_ctl_el0, xzr
	isb
2:	msr	s3_0_c12_c12_1, x0	// ICC_EOIR1_EL1
1:	ldp	x2, x3, [sp, #16]
	ldp	x0, x1, [sp], #32
	eret

	.balign	2048
vectors:
	.rept	4
	b	fault
	.balign	128
	.endr
	b	synchronous
	.balign	128
	b	interrupt
	.balign	128
	.rept	10
	b	fault
	.balign	128
	.endr

	.balign	64
arrived: .space 128
faults:	.space	64
lock1:	.space	64
lock2:	.space	64
lock3:	.space	64
count1:	.space	64
count2:	.space	64
count3:	.space	64
count4:	.space	64
count5:	.space	64
pair1:	.space	64
pair2:	.space	64
bytes:	.space	64
moves:	.space	128
code:	.space	64
taken:	.space	8 * 256
messages1: .space 16 * SLOTS
messages2: .space 16 * SLOTS
buffers1: .space 4 * 8 * SLOTS
buffers2: .space 4 * 8 * SLOTS
stacks:	.space	8 * 1024
	.balign	4096
first_table: .space 4096
second_table: .space 4096
last_table: .space 4096
page_a:	.space	4096
page_b:	.space	4096
