;; Grows the memory without end where the host asks for room.
;; Must: the component is stopped at the limit of its memory.
(func $realloc (param i32 i32 i32 i32) (result i32)
  (loop $more (drop (memory.grow (i32.const 16))) (br $more))
  (unreachable))
