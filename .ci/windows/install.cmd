@echo off
rem Installs the agent on this PC; run it again after an update. As administrator:
rem
rem   install.cmd C:\path\to\OFFICE.enrolment
rem
rem Needs Python 3.13 or later for all users, and WinSW-x64.exe in this directory as jharnet-agent.exe.
rem Tried by Wine, without the service; not tried on Windows.
setlocal
cd /d "%~dp0"
set "data=%ProgramData%\jharnet-agent"
if not defined PYTHON set "PYTHON=py -3"
%PYTHON% -c "import sys; sys.exit(sys.version_info < (3, 13))"
if errorlevel 1 (
  echo error: Python 3.13 or later is missing: install it for all users, then run this again
  exit /b 2
)
if exist jharnet-agent.exe jharnet-agent.exe stopwait >nul 2>nul
%PYTHON% -m venv --clear venv || exit /b 1
venv\Scripts\python -m pip --isolated install --no-index --no-deps --require-hashes --find-links wheels -r lock.txt || exit /b 1

rem SYSTEM, Administrators and LOCAL SERVICE by their numbers: their names are translated.
if not exist "%data%" mkdir "%data%"
icacls "%data%" /inheritance:r /grant *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F *S-1-5-19:(OI)(CI)M >nul || exit /b 1
if "%~1"=="" goto enrolled
venv\Scripts\jharnet-monitor agent --enrolment "%~1" --into "%data%" --no-run || exit /b 1
:enrolled

rem The hub pings this PC, which Windows would not answer.
netsh advfirewall firewall delete rule name="JharNet agent: echo requests" >nul 2>nul
netsh advfirewall firewall add rule name="JharNet agent: echo requests" dir=in action=allow protocol=icmpv4:8,any >nul

if not exist jharnet-agent.exe (
  echo error: the service is missing: put WinSW-x64.exe here as jharnet-agent.exe, then run this again
  exit /b 2
)
jharnet-agent.exe status | find "NonExistent" >nul && jharnet-agent.exe install
jharnet-agent.exe start
