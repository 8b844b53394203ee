;; Tells the host to put lists of 64-bit numbers at an odd place.
;; Must: the component is stopped.
(func $realloc (param i32 i32 i32 i32) (result i32) (i32.const 131073))
(func $loss (param $instance i32) (result i64)
  (call $shape (call $input (i32.const 1024)) (i32.const 32))
  (i64.const 0))
