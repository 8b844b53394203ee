;; Calls its loss by a sequence that clears the terminal, and by a character that turns text around.
;; Must: it is refused, and no control character gets out.
(data $description (i32.const 65536) "{\"interface\":1,\"sdk\":\"by hand\",\"losses\":[{\"name\":\"attack\\u001b[2J\\u202e\",\"doc\":\"Attacks the host.\"}]}")
