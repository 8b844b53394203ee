;; What every hand-made component here shares: the world of sdk/wit/plugin.wit by hand. An attack is a
;; file of its own that holds only what differs: a form that starts as one of these does, `(func $loss`
;; say, takes its place; other forms of a core module are put beside them, and those of a component
;; (`(import`, `(core`, `(component`) in front of all. `(repeat N form)` stands for N times that form, and
;; `(nest N)` for N components, each in the one before. As it is, it is a loss that behaves: the sum of
;; the target.
(component $attack
  (import "retort:loss/host@1.0.0" (instance $host
    (export "call" (func (param "op" u32) (param "args" (list u64)) (param "attrs" (list f64))
      (param "name" string) (result u64)))
    (export "shape" (func (param "tensor" u64) (result (list u64))))
    (export "read" (func (param "tensor" u64) (result (list f64))))))

  ;; The memory, and where the host puts what it hands over.
  (core module $keeper
    (memory $memory 4)
    (global $free (mut i32) (i32.const 131072))
    (func $realloc (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (global.set $free (i32.add (local.get $at) (local.get $size)))
      (if (i32.gt_u (global.get $free) (i32.shl (memory.size) (i32.const 16))) (then
        (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1))))))
      (local.get $at))
    (export "memory" (memory $memory))
    (export "cabi_realloc" (func $realloc)))
  (core instance $keeper (instantiate $keeper))

  (core func $call (canon lower (func $host "call") (memory $keeper "memory")))
  (core func $shape (canon lower (func $host "shape")
    (memory $keeper "memory") (realloc (func $keeper "cabi_realloc"))))
  (core func $read (canon lower (func $host "read")
    (memory $keeper "memory") (realloc (func $keeper "cabi_realloc"))))

  (core module $plugin
    (import "host" "call" (func $call
      (param $op i32) (param $args i32) (param $args_length i32) (param $attrs i32) (param $attrs_length i32)
      (param $name i32) (param $name_length i32) (result i64)))
    (import "host" "shape" (func $shape (param $tensor i64) (param $out i32)))
    (import "host" "read" (func $read (param $tensor i64) (param $out i32)))
    (import "keeper" "memory" (memory 0))

    (data $description (i32.const 65536) "{\"interface\":1,\"sdk\":\"by hand\",\"losses\":[{\"name\":\"attack\",\"doc\":\"Attacks the host.\",\"hyper\":[{\"name\":\"n\",\"doc\":\"Which of its ways.\",\"kind\":\"integer\",\"default\":0}]}]}")
    (data $target (i32.const 1024) "target")
    (data $labels (i32.const 1040) "labels")

    ;; The hyperparameter `n`: all digits of the JSON object {"n":12}.
    (global $n (mut i32) (i32.const 0))

    ;; Operands wait at 65 KiB, attributes at 81 KiB, for `$op`.
    (func $arg (param $i i32) (param $tensor i64)
      (i64.store offset=66560 (i32.shl (local.get $i) (i32.const 3)) (local.get $tensor)))
    (func $attr (param $i i32) (param $number f64)
      (f64.store offset=82944 (i32.shl (local.get $i) (i32.const 3)) (local.get $number)))
    (func $op (param $code i32) (param $args i32) (param $attrs i32) (result i64)
      (call $call (local.get $code) (i32.const 66560) (local.get $args) (i32.const 82944)
        (local.get $attrs) (i32.const 0) (i32.const 0)))
    (func $unary (param $code i32) (param $x i64) (result i64)
      (call $arg (i32.const 0) (local.get $x))
      (call $op (local.get $code) (i32.const 1) (i32.const 0)))
    (func $input (param $name i32) (result i64)
      (call $call (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (local.get $name) (i32.const 6)))
    (func $sum (param $x i64) (result i64) (call $unary (i32.const 60) (local.get $x)))

    (func $describe (result i32)
      (local $end i32)
      (local.set $end (i32.const 65536))
      (block $done (loop $next
        (br_if $done (i32.eqz (i32.load8_u (local.get $end))))
        (local.set $end (i32.add (local.get $end) (i32.const 1)))
        (br $next)))
      (i32.store (i32.const 8) (i32.const 65536))
      (i32.store (i32.const 12) (i32.sub (local.get $end) (i32.const 65536)))
      (i32.const 8))

    (func $create (param $name i32) (param $name_length i32) (param $hyper i32) (param $hyper_length i32)
      (result i32)
      (local $end i32) (local $digit i32)
      (local.set $end (i32.add (local.get $hyper) (local.get $hyper_length)))
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $hyper) (local.get $end)))
        (local.set $digit (i32.sub (i32.load8_u (local.get $hyper)) (i32.const 48)))
        (if (i32.lt_u (local.get $digit) (i32.const 10)) (then
          (global.set $n (i32.add (i32.mul (global.get $n) (i32.const 10)) (local.get $digit)))))
        (local.set $hyper (i32.add (local.get $hyper) (i32.const 1)))
        (br $next)))
      (i32.store (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (i32.const 0))
      (i32.const 16))

    (func $loss (param $instance i32) (result i64) (call $sum (call $input (i32.const 1024))))

    (export "describe" (func $describe))
    (export "create" (func $create))
    (export "loss" (func $loss)))
  (core instance $plugin (instantiate $plugin
    (with "host" (instance
      (export "call" (func $call)) (export "shape" (func $shape)) (export "read" (func $read))))
    (with "keeper" (instance $keeper))))

  (func (export "describe") (result string) (canon lift (core func $plugin "describe")
    (memory $keeper "memory") (realloc (func $keeper "cabi_realloc"))))
  (func (export "create") (param "name" string) (param "hyper" string) (result (result u32 (error string)))
    (canon lift (core func $plugin "create")
      (memory $keeper "memory") (realloc (func $keeper "cabi_realloc"))))
  (func (export "loss") (param "instance" u32) (result u64) (canon lift (core func $plugin "loss"))))
