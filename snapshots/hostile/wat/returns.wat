;; Returns no handle although nothing failed, integers, a handle that it made up, a matrix, and a fact.
;; Must: the step fails and says what a loss returns.
(data (i32.const 1056) "epoch")
(func $loss (param $instance i32) (result i64)
  (if (i32.eqz (global.get $n)) (then (return (i64.const 0))))
  (if (i32.eq (global.get $n) (i32.const 1)) (then (return (call $input (i32.const 1040)))))
  (if (i32.eq (global.get $n) (i32.const 2)) (then (return (i64.const 0xdeadbeefcafe))))
  (if (i32.eq (global.get $n) (i32.const 3)) (then (return (call $input (i32.const 1024)))))
  (call $call (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
    (i32.const 1056) (i32.const 5)))
