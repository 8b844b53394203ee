;; Is a component in a component, and so on, a thousand deep.
;; Must: it is refused, or started and stopped; the host's stack holds.
(nest 1000)
