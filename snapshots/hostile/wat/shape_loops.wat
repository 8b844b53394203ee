;; Asks for a shape for ever; all answers go to one place, so that no memory is used up.
;; Must: the step ends at a limit of its time.
(func $realloc (param i32 i32 i32 i32) (result i32) (i32.const 131072))
(func $loss (param $instance i32) (result i64)
  (local $x i64)
  (local.set $x (call $input (i32.const 1024)))
  (loop $for_ever (call $shape (local.get $x) (i32.const 32)) (br $for_ever))
  (unreachable))
