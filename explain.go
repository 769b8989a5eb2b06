package headless

// explain says in m, a denial of q, why.
func (h *Headless) explain(q *question, m *reply) {
	m.cause = h.why(q, m.outcome)
}

// why returns why q, whose name has the outcome o, has no record.
func (h *Headless) why(q *question, o outcome) cause {
	switch {
	case o == found:
		return causeType
	case q.kind == absent:
		return causeSyntax
	case q.kind == podsName || q.kind == podName:
		return h.whyPod(q)
	case q.kind == namespaceName || q.kind == serviceName || q.kind == reverseName:
		return h.indexOf(q.authority).why(&q.query).cause
	}
	return causeNonTerminal
}

// whyPod returns why a name below pod does not own a record.
func (h *Headless) whyPod(q *question) cause {
	switch {
	case h.podMode == podsDisabled:
		return causePod
	case !h.index.hasNamespace(q.namespace):
		return causeNamespace
	case q.kind == podsName:
		return causeNonTerminal
	}
	return causePod
}
