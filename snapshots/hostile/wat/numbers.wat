;; Gives NaN, infinities, a negative number, a half, 1e300 and 2^32 + 1/2 where sizes are meant, to ten
;; operations: `n` is ten times the operation plus the number.
;; Must: the step fails and says that the number is no size.
(data (i32.const 2048) (f64 nan inf -inf -1 0.5 1e300 4294967296.5))
;; eye, random_index, random_uniform, range, constant; of the target slice, sum_dim, reshape, pool; of the
;; labels one_hot. Each with how many attributes it takes.
(data (i32.const 2112) "\66\01\09\02\0a\02\6c\02\0c\02\53\03\3d\01\52\02\58\02\65\01")
(func $loss (param $instance i32) (result i64)
  (local $which i32) (local $number f64) (local $i i32)
  (local.set $which (i32.div_u (global.get $n) (i32.const 10)))
  (local.set $number (f64.load offset=2048
    (i32.shl (i32.rem_u (global.get $n) (i32.const 10)) (i32.const 3))))
  (loop $next
    (call $attr (local.get $i) (local.get $number))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $i) (i32.const 3))))
  (call $arg (i32.const 0) (call $input
    (select (i32.const 1040) (i32.const 1024) (i32.eq (local.get $which) (i32.const 9)))))
  (call $sum (call $op
    (i32.load8_u offset=2112 (i32.shl (local.get $which) (i32.const 1)))
    (i32.ge_u (local.get $which) (i32.const 5))
    (i32.load8_u offset=2113 (i32.shl (local.get $which) (i32.const 1))))))
