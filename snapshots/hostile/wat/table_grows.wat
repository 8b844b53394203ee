;; Grows a table without end.
;; Must: the component is stopped at the limit of its tables.
(table $table 1 funcref)
(func $loss (param $instance i32) (result i64)
  (loop $more (drop (table.grow $table (ref.null func) (i32.const 100000))) (br $more))
  (unreachable))
