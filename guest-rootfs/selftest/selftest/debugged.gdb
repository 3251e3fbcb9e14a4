# What gdb does to the program of debugged.c.
set confirm off
set width 0
set debuginfod enabled off

break main
run
printf "gdb: break in main, count %ld\n", count
while count == 0
	stepi
end
printf "gdb: stepi until count is %ld, total %ld\n", count, total
next
next
printf "gdb: next over total, which is %ld\n", total

hbreak square if n == 6
continue
printf "gdb: hbreak in square of %ld, squares %ld %ld\n", n, squares[5], squares[6]
finish
printf "gdb: finish gives %ld\n", $
delete

watch text[3]
continue
printf "gdb: watch sees %c\n", text[3]
info symbol $pc
delete

watch pair.first
rwatch squares[3]
awatch pair.second
continue
printf "gdb: watch sees first %ld, second %ld\n", pair.first, pair.second
continue
printf "gdb: awatch sees second %ld\n", pair.second
continue
printf "gdb: rwatch sees a square of %ld, total %ld\n", squares[3], total
watch total
continue
printf "gdb: watch sees total %ld\n", total
continue
printf "gdb: awatch sees second %ld again\n", pair.second
continue
