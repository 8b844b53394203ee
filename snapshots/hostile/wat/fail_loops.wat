;; Goes on asking for operations for ever after one has failed.
;; Must: the step ends at a limit of its time, or with what failed first.
(func $loss (param $instance i32) (result i64)
  (loop $for_ever (drop (call $op (i32.const 41) (i32.const 0) (i32.const 0))) (br $for_ever))
  (unreachable))
