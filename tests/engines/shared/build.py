"""Images built from a Dockerfile, whose RUN steps are containers."""

from __future__ import annotations

import pytest


class Build:
    """`build` with the flags FLAGS; the image is removed with the scenario."""

    FLAGS: tuple[str, ...] = ("--network", "none")

    @pytest.fixture
    def build(self, engine, workdir):
        def make(*lines: str, rc: int | None = 0, flags: tuple[str, ...] = ()):
            text = "\n".join([f"FROM {engine.IMAGE}", *lines, ""])
            (workdir / "Dockerfile").write_text(text)
            return engine.call("build", *self.FLAGS, *flags, "--tag", "localhost/built", "--file",
                               str(workdir / "Dockerfile"), str(workdir), rc=rc)

        yield make
        engine.call("rmi", "--force", "localhost/built", rc=None)

    def ask(self, engine, script: str) -> str:
        return engine.call("run", "--rm", *engine.OFFLINE, "localhost/built", "sh", "-c", script).out

    @pytest.mark.smoke
    def test_a_step_changes_the_image(self, engine, build):
        build("RUN echo built > /made && id -u >> /made")
        assert self.ask(engine, "cat /made") == "built\n0\n"

    def test_a_step_that_fails_fails_the_build(self, engine, build):
        done = build("RUN exit 7", rc=None)
        assert done.rc != 0 and "7" in done.out + done.err

    def test_a_step_whose_program_is_missing(self, engine, build):
        assert build('RUN ["/no/such/program"]', rc=None).rc != 0

    def test_user_directory_and_environment_of_a_step(self, engine, build):
        build("ENV WORD=given", "WORKDIR /home/user", "USER 1000:1000",
              'RUN echo "$WORD $(pwd) $(id -u)" > made')
        assert self.ask(engine, "cat /home/user/made") == "given /home/user 1000\n"

    def test_files_copied_into_a_step(self, engine, build, workdir):
        (workdir / "file").write_text("copied")
        build("COPY file /data/", "RUN cat /data/file > /seen")
        assert self.ask(engine, "cat /seen") == "copied"

    def test_arguments_of_a_build(self, engine, build):
        build("ARG WORD", "RUN echo $WORD > /made", flags=("--build-arg", "WORD=asked"))
        assert self.ask(engine, "cat /made") == "asked\n"

    def test_stages(self, engine, build):
        build("RUN echo first > /one", f"FROM {engine.IMAGE}", "COPY --from=0 /one /two", "RUN cat /two > /three")
        assert self.ask(engine, "cat /three; ls /one 2>&1 | wc -l").split() == ["first", "1"]

    def test_rights_of_a_step(self, engine, build):
        build("RUN grep -E '^(CapEff|Seccomp):' /proc/self/status > /made")
        lines = dict(line.split(":") for line in self.ask(engine, "cat /made").splitlines())
        assert not int(lines["CapEff"], 16) >> 21 & 1
        assert lines["Seccomp"].strip() == "2"
