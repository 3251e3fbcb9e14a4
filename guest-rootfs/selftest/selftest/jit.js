'use strict';
const rounds = process.argv[2] === 'full' ? 10 : 1;

function primes(limit) {
	const sieve = new Uint8Array(limit + 1);
	let count = 0;
	for (let i = 2; i <= limit; i++) {
		if (sieve[i]) continue;
		count++;
		for (let j = i * i; j <= limit; j += i) sieve[j] = 1;
	}
	return count;
}

function mandelbrot(size) {
	let inside = 0;
	for (let y = 0; y < size; y++) {
		for (let x = 0; x < size; x++) {
			const cr = (3 * x) / size - 2, ci = (2 * y) / size - 1;
			let zr = 0, zi = 0, n = 0;
			while (zr * zr + zi * zi < 4 && n++ < 50) [zr, zi] = [zr * zr - zi * zi + cr, 2 * zr * zi + ci];
			if (n > 50) inside++;
		}
	}
	return inside;
}

// The same function with numbers, then strings, then objects: compiled code that must be thrown away.
function add(a, b) {
	return a + b;
}
function deoptimise() {
	let sum = 0, text = '';
	for (let i = 0; i < 50000; i++) sum = add(sum, i);
	for (let i = 0; i < 2000; i++) text = add(text, i % 10);
	for (let i = 0; i < 5000; i++) sum = add(sum, { valueOf: () => i });
	return `${sum} ${text.length} ${text.slice(-5)}`;
}

function garbage() {
	let list = null, live = 0;
	for (let i = 0; i < 100000; i++) {
		list = { next: i % 1000 ? list : null, value: [i, String(i)] };
	}
	for (; list; list = list.next) live += list.value[1].length;
	return live;
}

// (func (export "gcd") (param i64 i64) (result i64)): Euclid's, in a loop.
const wasm = new Uint8Array([
	0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 7, 1, 0x60, 2, 0x7e, 0x7e, 1, 0x7e, 3, 2, 1, 0, 7, 7, 1, 3, 0x67, 0x63, 0x64, 0, 0,
	0x0a, 0x23, 1, 0x21, 1, 1, 0x7e, 0x03, 0x40, 0x20, 1, 0x50, 0x45, 0x04, 0x40, 0x20, 1, 0x21, 2, 0x20, 0, 0x20, 1, 0x82,
	0x21, 1, 0x20, 2, 0x21, 0, 0x0c, 1, 0x0b, 0x0b, 0x20, 0, 0x0b,
]);

async function main() {
	for (let round = 0; round < rounds; round++) {
		console.log(`primes ${primes(200000)}`);
		console.log(`mandelbrot ${mandelbrot(120)}`);
		console.log(`deoptimise ${deoptimise()}`);
		console.log(`garbage ${garbage()}`);
		const { instance } = await WebAssembly.instantiate(wasm);
		let sum = 0n;
		for (let i = 1n; i < 3000n; i++) sum += instance.exports.gcd(i * 5040n, 720720n);
		console.log(`wasm ${sum}`);
		console.log(`math ${Math.sqrt(2)} ${Math.fround(0.1)} ${0.1 + 0.2} ${2 ** 0.5} ${Math.hypot(3, 4)} ${parseFloat('1e-320')}`);
		console.log(`bigint ${(3n ** 200n) % 1000000007n} regexp ${'a1b22c333'.replace(/\d+/g, (d) => d.length)}`);
		console.log(`json ${JSON.stringify(JSON.parse('{"a":[1,2.5,-0,1e21],"b":"\\u00e9"}'))}`);
	}
}
main();
