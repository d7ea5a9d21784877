# Two commands do all the set-up: `make demo` and `make test`. Everything they fetch lies in ignored folders.

PYTHON  ?= python3
CARGO   ?= cargo
RUNTIME := .runtime
CLIENTS := $(RUNTIME)/clients
DEPLOY  := $(RUNTIME)/deploy
TRITON  := $(RUNTIME)/triton
LIBRARY := $(RUNTIME)/onnxruntime/VERSION

.PHONY: help demo demo-cluster test onnxruntime phoenix manifests dashboards build check fmt lint docs audit bench bench-short \
	instructions rehearse rehearse-short clean

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  \1 — /p' $(MAKEFILE_LIST) | sort

demo: $(LIBRARY) ## build, serve the example models, send them real input
	$(CARGO) build --release --bin infergate
	@deploy/scripts/demo target/release/infergate

demo-cluster: $(LIBRARY) ## a gateway and three workers under load, one slowed, one killed and started again
	$(CARGO) build --release --bin infergate
	@deploy/scripts/demo-cluster target/release/infergate $(if $(SECONDS),--seconds $(SECONDS))

test: $(LIBRARY) $(CLIENTS)/installed $(DEPLOY)/installed $(TRITON)/installed ## everything that CI runs as tests
	$(CARGO) build --bin infergate
	$(CARGO) test --lib --bins --test it -- --include-ignored
	$(CARGO) test --doc
	PYTHONPATH=$(CLIENTS) $(PYTHON) -m pytest tests/clients -q
	PYTHONPATH=$(CLIENTS) $(PYTHON) -m pytest tests/clients -q --through-gateway
	PYTHONPATH=$(DEPLOY) $(PYTHON) -m pytest tests/deploy -q

onnxruntime: ## fetch the pinned ONNX Runtime (GPU=1 for the GPU one)
	$(PYTHON) deploy/scripts/fetch-onnxruntime $(if $(GPU),--gpu)

# Whichever was fetched is kept.
$(LIBRARY): deploy/scripts/onnxruntime.sha256
	$(PYTHON) deploy/scripts/fetch-onnxruntime
	@touch $@

# Into a folder of their own: a virtual environment would need more than python3 and pip.
$(CLIENTS)/installed $(DEPLOY)/installed: $(RUNTIME)/%/installed: tests/%/requirements.txt
	rm -rf $(@D)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target $(@D) -r $<
	@touch $@

# A server of others to put a gateway in front of. Where there is none for this machine its tests are skipped.
$(TRITON)/installed: tests/clients/requirements-triton.txt
	rm -rf $(@D)
	mkdir -p $(@D)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) -r $< || echo "no Triton here"
	@touch $@

phoenix: ## install a tracing back end (830 MB), so that `make test` tries ours with it
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target $(RUNTIME)/phoenix \
		-r tests/clients/requirements-phoenix.txt

manifests: ## render deploy/kubernetes/split.yaml (needs kubectl 1.27 or newer)
	kubectl kustomize deploy/kubernetes/split > deploy/kubernetes/split.yaml

dashboards: ## render deploy/monitoring/grafana/dashboards from its panels
	deploy/scripts/dashboards

lint: ## formatting, clippy with our bans
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

docs: ## the documentation, broken links denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --lib

audit: ## licences and sources of the dependencies
	deploy/scripts/audit

bench: $(LIBRARY) ## what a call costs and what batching is worth, against floors
	$(CARGO) bench --bench journey --bench batching --bench queue --bench allocations --bench gateway --bench telemetry \
		--bench endpoints --bench pick --bench stripes --bench balance

bench-short: $(LIBRARY) ## the same in seconds, to see that it runs
	$(CARGO) bench --bench journey --bench batching --bench queue --bench gateway --bench telemetry --bench endpoints \
		--bench pick --bench stripes --bench balance -- --short
	$(CARGO) bench --bench allocations

instructions: ## instructions by call, by pick and by plan, against bounds (needs valgrind)
	deploy/scripts/instructions

rehearse: ## restarts, kills and freezes of a cluster under load, 50 times each: what callers see
	$(CARGO) bench --bench rehearsal

rehearse-short: ## the same, three times each; fails where a caller saw an error
	$(CARGO) bench --bench rehearsal -- --short

clean: ## remove what was built and fetched
	$(CARGO) clean
	rm -rf $(RUNTIME)
