;; Traps where the host asks for room.
;; Must: the component is stopped.
(func $realloc (param i32 i32 i32 i32) (result i32) (unreachable))
