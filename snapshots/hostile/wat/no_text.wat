;; Describes itself by bytes that are no UTF-8.
;; Must: the component is stopped.
(data $description (i32.const 65536) "{\"interface\":1,\"sdk\":\"\ff\fe\",\"losses\":[]}")
